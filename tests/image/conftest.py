"""Images built here, and a lab whose guests come with the agent of their image."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from backups.steps import Owner
from lab import network, settings
from lab.cache import Cache
from lab.fetch import image as images
from lab.fetch.image import Image
from lab.lab import Lab
from lab.progress import Progress
from scenarios.conftest import DATABASE, PASSWORD, USER, delete
from scenarios.conftest import pytest_runtest_makereport  # noqa: F401

# Which images (TROVE_LAB_IMAGES); a build takes minutes.
DATASTORES = (os.environ.get("TROVE_LAB_IMAGES") or "postgresql").split()
RESULTS = settings.REPO / "target/image/results.json"


@pytest.fixture(scope="session", params=DATASTORES)
def image(request: pytest.FixtureRequest) -> Image:
    """An image with the agent that is under test."""
    cache, binary = Cache(settings.cache_dir()), settings.agent_binary()
    with network.outside():
        return images.ensure(cache, request.param, binary, Progress())


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """A lab of its own, which puts nothing into its guests."""
    lab = Lab()
    assert not lab.running(), "this suite needs a lab that it has started itself"
    before = os.environ.get("TROVE_GUESTAGENT_BINARY")
    os.environ["TROVE_GUESTAGENT_BINARY"] = "none"
    try:
        lab.up(objects=True)
    finally:
        del os.environ["TROVE_GUESTAGENT_BINARY"]
        if before is not None:
            os.environ["TROVE_GUESTAGENT_BINARY"] = before
    with lab.inside():
        yield lab
    lab.down()


@contextmanager
def created(
    lab: Lab, datastore: str, series: str, timeout: float = 180.0
) -> Iterator[Owner]:
    """An ACTIVE instance with a database and a user."""
    trove = lab.trove()
    user = {"name": USER, "password": PASSWORD, "databases": [{"name": DATABASE}]}
    instance = trove.create_instance(
        f"image-{datastore}", datastore, series, databases=[DATABASE], users=[user]
    )
    try:
        address = trove.address(trove.wait_active(instance["id"], timeout=timeout))
        yield Owner(lab, trove, instance["id"], datastore, address)
    finally:
        delete(trove, instance["id"])


def record(name: str, **figures: Any) -> None:
    """Add figures of this run to target/image/results.json."""
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    known.setdefault(name, {}).update(figures)
    RESULTS.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
