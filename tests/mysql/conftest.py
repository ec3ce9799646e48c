"""One instance of each product, whose life goes on from test to test.

Every test tells its story of both at the same time, and leaves them healthy and
without a configuration group.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from backups.steps import Owner
from lab.lab import Lab
from scenarios.conftest import lab as lab
from scenarios.conftest import pytest_runtest_makereport  # noqa: F401
from scenarios.together import all_created

PRODUCTS = ("mysql", "mariadb")


@pytest.fixture(scope="session")
def owners(lab: Lab) -> Iterator[list[Owner]]:
    lab.use_mode("encrypted")
    with all_created(lab, PRODUCTS, megabytes=4) as made:
        yield made
