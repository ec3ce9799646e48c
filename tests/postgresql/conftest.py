"""A lab with an object store, and an instance for those who leave it as it was."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from backups.conftest import container as container
from backups.conftest import lab as lab
from backups.steps import Owner, created
from lab.lab import Lab
from scenarios.conftest import pytest_runtest_makereport  # noqa: F401


@pytest.fixture(scope="session")
def instance(lab: Lab) -> Iterator[Owner]:
    with created(lab, "postgresql") as owner:
        yield owner
