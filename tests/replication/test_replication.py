"""A source and two replicas: made, cut off, promoted, ejected, detached.

One story; every test goes on where the one before has ended.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.lab import Lab
from replication.conftest import sets_of_all
from scenarios import replication_steps as steps
from scenarios.replication_steps import Set
from scenarios.together import at_once


@pytest.fixture(scope="module")
def sets(lab: Lab) -> Iterator[list[Set]]:
    with sets_of_all(lab, replicas=2) as sets:
        yield sets


def test_replicas_follow(sets: list[Set]) -> None:
    """Every row and every user of the source, and nothing of their own."""

    def follow(found: Set) -> None:
        with steps.writer(found.source) as going:
            going.wait_more(200)
            count = going.stop()
        steps.check(found, count)
        steps.check_users(found)
        steps.check_root(found)

    at_once(follow, sets)


def test_network_cut(sets: list[Set]) -> None:
    """A replica that was away gets what it has missed."""
    at_once(lambda found: steps.cut(found, found.replicas[0]), sets)


def test_promote(sets: list[Set]) -> None:
    """Twice, so that the first source is one again."""

    def promote(found: Set) -> None:
        first = found.source
        steps.promote(found, found.replicas[0])
        steps.check_users(found)
        steps.promote(found, first)
        assert found.source is first

    at_once(promote, sets)


def test_detach(sets: list[Set]) -> None:
    """The others go on; a new replica takes its place."""

    def detach(found: Set) -> None:
        steps.detach(found, found.replicas[0])
        steps.add_replicas(found, 1)
        assert len(found.replicas) == 2

    at_once(detach, sets)


def test_eject(sets: list[Set]) -> None:
    """The source dies; the replica that has most becomes the source."""

    def eject(found: Set) -> None:
        # Either is the same to Trove.
        dead = "agent" if found.source.datastore == "mariadb" else "guest"
        steps.eject(found, dead)
        assert len(found.replicas) == 1
        steps.check_users(found)

    at_once(eject, sets)
