"""A lab, and one PostgreSQL instance for those who leave it as it was."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from backups.conftest import container  # noqa: F401
from backups.steps import Owner, created
from lab.lab import Lab
from scenarios.conftest import lab as lab
from scenarios.conftest import pytest_runtest_makereport  # noqa: F401


@pytest.fixture(scope="session")
def instance(lab: Lab) -> Iterator[Owner]:
    lab.use_mode("encrypted")
    with created(lab, "postgresql") as owner:
        yield owner
