"""The lab of the backups' suite."""

from backups.conftest import lab, pytest_runtest_makereport  # noqa: F401
