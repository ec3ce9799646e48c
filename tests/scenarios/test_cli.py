"""The workshop with the real `openstack database` commands, as the demo shows it."""

from __future__ import annotations

import sys

import pytest

from lab.demo import Workshop
from lab.lab import Lab
from lab.settings import DATASTORES


@pytest.mark.parametrize("datastore", DATASTORES)
def test_workshop_commands(lab: Lab, datastore: str) -> None:
    """Every step of the demo holds what it promises."""
    lab.use_mode("encrypted")
    Workshop(lab, datastore, sys.stdout).run()
