"""Other flavors: more memory, less, and one that the server does not start on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from backups.steps import Owner, created
from lab.lab import Lab
from scenarios.day2 import LARGE, LIMIT, SMALL, refusing_once, resize, show, wait_flavor


@pytest.fixture(scope="module")
def owner(lab: Lab) -> Iterator[Owner]:
    with created(lab, "postgresql") as owner:
        yield owner


def test_there_and_back(owner: Owner) -> None:
    """Memory as the flavor has it, and rows as they were."""
    small = show(owner, "shared_buffers")
    resize(owner, LARGE)
    wait_flavor(owner, LARGE)
    assert show(owner, "shared_buffers") != small
    resize(owner, SMALL)
    wait_flavor(owner, SMALL)
    assert show(owner, "shared_buffers") == small
    assert owner.told() == {"created"}


def test_flavor_that_the_server_does_not_start_on(owner: Owner) -> None:
    """Trove goes back to the old flavor, and the server to its configuration."""
    small = show(owner, "shared_buffers")
    with refusing_once(owner):
        resize(owner, LARGE)
        owner.guest.wait_message("runs with the one before", LIMIT)
        wait_flavor(owner, SMALL)
    assert show(owner, "shared_buffers") == small
    assert owner.told() == {"created"}
