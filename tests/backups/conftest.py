"""A lab with an object store, and instances that have something to lose."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from backups.steps import Owner, created
from backups.store_proxy import StoreProxy
from lab.lab import Lab

# The hook that shows what the agents said last.
from scenarios.conftest import pytest_runtest_makereport  # noqa: F401


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """The lab that is up already, or one that ends with the session."""
    lab = Lab()
    started = not lab.running()
    if started:
        lab.up(objects=True)
    else:
        lab.start_swift()
    lab.use_mode("encrypted")
    with lab.inside():
        yield lab
    if started:
        lab.down()


@pytest.fixture
def container(lab: Lab) -> Iterator[str]:
    """A container for the backups of one test: what is in it is theirs."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    yield name
    lab.objects().clear(name)


@pytest.fixture(scope="module")
def instance(lab: Lab) -> Iterator[Owner]:
    """A MariaDB instance with some data."""
    with created(lab, "mariadb") as owner:
        yield owner


@pytest.fixture(scope="module")
def store(lab: Lab) -> Iterator[StoreProxy]:
    """The object store as Trove and its guests see it in these tests."""
    proxy = StoreProxy()
    lab.restart_trove(objects=proxy.objects)
    yield proxy
    proxy.close()
    lab.restart_trove()
