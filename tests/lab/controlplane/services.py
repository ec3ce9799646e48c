"""Starting and stopping trove-api, trove-taskmanager and trove-conductor."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from pathlib import Path

from lab import network, rabbitmq
from lab.cgroups import Cgroup
from lab.controlplane.config import API
from lab.processes import ProcessTable

NAMES = ("conductor", "taskmanager", "api")
# The queue that each service consumes once it works.
QUEUES = {"conductor": "trove-conductor", "taskmanager": "taskmanager"}


def start(
    table: ProcessTable, namespace: str, cgroup: Cgroup, venv: Path, config: Path
) -> None:
    """Start all three; returns at once."""
    for name in NAMES:
        program = [str(venv / "bin" / f"trove-{name}"), f"--config-file={config}"]
        argv = network.entering(namespace, [*program, f"--log-file=trove-{name}.log"])
        table.start(f"trove-{name}", cgroup.wrap(argv))


def stop(table: ProcessTable) -> None:
    """Stop all three."""
    for name in reversed(NAMES):
        table.stop(f"trove-{name}")


def wait_ready(table: ProcessTable, timeout: float = 120.0) -> None:
    """Wait until the API answers and both other services consume.

    The calling thread must be inside the lab's network.
    """
    deadline = time.monotonic() + timeout
    waiting = set(NAMES)
    while waiting:
        for name in sorted(waiting):
            if table.get(f"trove-{name}") is None:
                raise RuntimeError(f"trove-{name} ended; see log/trove-{name}.out")
            if _ready(name):
                waiting.discard(name)
        if waiting:
            if time.monotonic() > deadline:
                raise TimeoutError(f"not ready: {', '.join(sorted(waiting))}")
            time.sleep(0.1)


def _ready(name: str) -> bool:
    if name in QUEUES:
        return rabbitmq.consumers(QUEUES[name]) > 0
    try:
        with urllib.request.urlopen(API, timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False
