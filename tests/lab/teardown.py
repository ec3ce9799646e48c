"""Removing a lab, running or crashed, by what can be found of it.

Needs nothing that was fetched: a lab can be removed after its cache.
"""

from __future__ import annotations

import json
from pathlib import Path

from lab import network
from lab.cache import remove_tree
from lab.cgroups import Cgroup
from lab.guests import volumes
from lab.guests.kinds import machine_in


def daemons(name: str) -> Cgroup:
    """The cgroup of a lab's own processes."""
    return Cgroup(name, "daemons")


def destroy(state: Path, name: str, *, keep_logs: bool) -> None:
    """End everything that belongs to the lab `name` and delete its data."""
    # First what could start more, then the guests, then the rest.
    daemons(name).destroy()
    guests = state / "guests"
    for directory in sorted(guests.iterdir()) if guests.is_dir() else []:
        machine_in(directory, name, state / "log" / "guests").destroy()
    Cgroup(name).destroy()
    for namespace in network.existing(name):
        if namespace == name or namespace.startswith(f"{name}-"):
            network.delete(namespace)
    if not state.exists():
        return
    volumes.detach(state)
    for entry in state.iterdir():
        if entry.name != "log" or not keep_logs:
            remove_tree(entry)
    if not keep_logs:
        state.rmdir()


def is_up(state: Path) -> bool:
    """Whether a lab was brought up there and not taken down since."""
    return record(state).exists()


def record(state: Path) -> Path:
    """Written when a lab is up."""
    return state / "lab.json"


def mode(state: Path) -> str:
    """Kind of RPC that the lab's Trove uses for new instances."""
    return json.loads(record(state).read_text())["mode"]
