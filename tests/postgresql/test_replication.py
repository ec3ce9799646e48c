"""A source and two replicas: made, promoted, ejected, detached.

One story; every test goes on where the one before has ended.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.lab import Lab
from scenarios import replication_steps as steps
from scenarios.replication_steps import Set


@pytest.fixture(scope="module")
def found(lab: Lab) -> Iterator[Set]:
    with steps.replicated(lab, "postgresql", replicas=2) as found:
        yield found


def test_replicas_follow(found: Set) -> None:
    """Every row and every user of the source, and nothing of their own."""
    with steps.writer(found.source) as going:
        going.wait_more(200)
        count = going.stop()
    steps.check(found, count)
    steps.check_users(found)


def test_promote(found: Set) -> None:
    """Twice, so that the first source is one again."""
    first = found.source
    steps.promote(found, found.replicas[0])
    steps.check_users(found)
    steps.promote(found, first)
    assert found.source is first


def test_detach(found: Set) -> None:
    """The others go on; a new replica takes its place."""
    steps.detach(found, found.replicas[0])
    steps.add_replicas(found, 1)
    assert len(found.replicas) == 2


def test_eject(found: Set) -> None:
    """The source dies; the replica that has most becomes the source."""
    steps.eject(found)
    assert len(found.replicas) == 1
    steps.check_users(found)
