"""The workshop with the real `openstack database` commands, as the demo shows it."""

from __future__ import annotations

import sys

from lab.demo import Workshop
from lab.lab import Lab


def test_workshop_commands(lab: Lab) -> None:
    """Every step of the demo holds what it promises.

    On MySQL only: the client takes seconds for each command, and what it asks
    for is tested on both datastores without it.
    """
    lab.use_mode("encrypted")
    Workshop(lab, "mysql", sys.stdout).run()
