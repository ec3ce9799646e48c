"""A lab with an object store: replicas begin with a backup."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from backups.conftest import container as container
from backups.conftest import lab as lab
from lab.lab import Lab
from lab.settings import DATASTORES
from scenarios.conftest import pytest_runtest_makereport  # noqa: F401
from scenarios.replication_steps import Set, replicated
from scenarios.together import entered


@contextmanager
def sets_of_all(lab: Lab, replicas: int) -> Iterator[list[Set]]:
    """A source of each datastore with its replicas.

    Their stories go on at the same time: most of them is waiting.
    """
    with entered(replicated(lab, each, replicas) for each in DATASTORES) as sets:
        yield sets
