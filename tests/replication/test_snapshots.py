"""Replicas on volumes that are made from a snapshot of their source's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.lab import Lab
from replication.conftest import sets_of_all
from scenarios import replication_steps as steps
from scenarios.replication_steps import Set
from scenarios.together import at_once


@pytest.fixture(scope="module")
def cinder(lab: Lab) -> Iterator[None]:
    """Trove keeps backups in Cinder for these tests."""
    lab.restart_trove(storage="cinder")
    yield
    lab.restart_trove()


@pytest.fixture(scope="module")
def sets(lab: Lab, cinder: None) -> Iterator[list[Set]]:
    with sets_of_all(lab, replicas=0) as sets:
        yield sets


def test_replica_of_a_snapshot(sets: list[Set]) -> None:
    """It begins where the snapshot was taken, while others write."""

    def replicate(found: Set) -> None:
        with steps.writer(found.source) as going:
            going.wait_more(20)
            steps.add_replicas(found, 1)
            going.wait_more(20)
            count = going.stop()
        steps.check(found, count)
        steps.promote(found, found.replicas[0])

    at_once(replicate, sets)
