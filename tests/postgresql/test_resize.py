"""Other flavors: more memory, less, and one that the server does not start on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from backups.steps import Owner, created
from lab.lab import Lab
from lab.waiting import eventually
from postgresql.day2 import LIMIT, show

SMALL, LARGE = "2", "3"
# Refuses one start of the server, and no other.
REFUSE = "/var/lib/postgresql/data/refuse-start"
DROP_IN = f"""\
[Service]
ExecStartPre=/bin/sh -c 'if test -e {REFUSE}; then rm {REFUSE}; exit 1; fi'
"""


@pytest.fixture(scope="module")
def owner(lab: Lab) -> Iterator[Owner]:
    with created(lab, "postgresql") as owner:
        yield owner


def resize(owner: Owner, flavor: str) -> None:
    before = owner.guest.leader()
    owner.trove.resize_flavor(owner.id, flavor)
    eventually(lambda: owner.guest.running() and owner.guest.leader() != before, LIMIT)


def settled(owner: Owner, flavor: str) -> bool:
    shown = owner.trove.instance(owner.id)
    return shown["flavor"]["id"] == flavor and shown["status"] in ("ACTIVE", "HEALTHY")


def test_there_and_back(owner: Owner) -> None:
    """Memory as the flavor has it, and rows as they were."""
    small = show(owner, "shared_buffers")
    resize(owner, LARGE)
    eventually(lambda: settled(owner, LARGE), LIMIT)
    owner.trove.wait_active(owner.id)
    assert show(owner, "shared_buffers") != small
    resize(owner, SMALL)
    eventually(lambda: settled(owner, SMALL), LIMIT)
    owner.trove.wait_active(owner.id)
    assert show(owner, "shared_buffers") == small
    assert owner.told() == {"created"}


def test_flavor_that_the_server_does_not_start_on(owner: Owner) -> None:
    """Trove goes back to the old flavor, and the server to its configuration."""
    guest, small = owner.guest, show(owner, "shared_buffers")
    directory = f"/etc/systemd/system/{owner.product.unit}.d"
    guest.sh(f"mkdir -p {directory}")
    guest.run(["tee", f"{directory}/refuse.conf"], input=DROP_IN)
    guest.sh(f"systemctl daemon-reload && touch {REFUSE} && chown database: {REFUSE}")
    resize(owner, LARGE)
    guest.wait_message("runs with the one before", LIMIT)
    eventually(lambda: settled(owner, SMALL), LIMIT)
    owner.trove.wait_active(owner.id, timeout=LIMIT)
    assert show(owner, "shared_buffers") == small
    assert owner.told() == {"created"}
