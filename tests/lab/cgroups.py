"""Control groups: one for the lab's daemons and one for every guest.

A guest's systemd owns the tree below its cgroup. Two guests in one group would
reach each other's processes (`systemctl kill`), and a group of our own is also
how nothing is ever left running: whatever is in it gets killed.

Machines differ: cgroup2 alone, or cgroup2 beside the old hierarchy with its
`name=systemd` tree, where systemd-nspawn wants to be in both.
"""

from __future__ import annotations

import os
import signal
import time
from functools import cache
from pathlib import Path

from lab.processes import Identity


@cache
def hierarchies() -> tuple[Path, ...]:
    """Mount points of cgroup2 and, where there is one, of name=systemd."""
    unified: list[Path] = []
    named: list[Path] = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        mount = Path(before.split()[4])
        if kind == "cgroup2":
            unified.append(mount)
        elif kind == "cgroup" and "name=systemd" in options.split(","):
            named.append(mount)
    if not unified:
        raise RuntimeError("no cgroup2 hierarchy is mounted on this machine")
    return tuple(unified[:1] + named[:1])


class Cgroup:
    """A named group, the same path in every hierarchy that matters."""

    def __init__(self, *names: str) -> None:
        self._dirs = [mount.joinpath(*names) for mount in hierarchies()]

    def create(self) -> None:
        """Make the group; no error if it exists."""
        for directory in self._dirs:
            directory.mkdir(parents=True, exist_ok=True)

    def wrap(self, argv: list[str]) -> list[str]:
        """The command that moves itself into the group, then becomes `argv`."""
        joins = "".join(f'echo $$ >"{d}/cgroup.procs" && ' for d in self._dirs)
        return ["sh", "-c", joins + 'exec "$@"', "sh", *argv]

    def processes(self) -> list[int]:
        """Pids in the group and everything below it."""
        pids: set[int] = set()
        for directory in self._dirs:
            for procs in directory.rglob("cgroup.procs"):
                try:
                    pids.update(map(int, procs.read_text().split()))
                except OSError:
                    continue  # removed while we were reading
        return sorted(pids)

    def destroy(self, timeout: float = 10.0) -> None:
        """Kill what is inside and remove the group with all below it."""
        deadline = time.monotonic() + timeout
        while pids := self._alive():
            for identity in pids:
                identity.kill(signal.SIGKILL)
            for identity in pids:
                identity.wait(max(0.0, deadline - time.monotonic()))
            if time.monotonic() > deadline:
                raise TimeoutError(f"cannot empty {self._dirs[0]}: {pids}")
        for directory in self._dirs:
            _remove(directory, deadline)

    def _alive(self) -> list[Identity]:
        found = []
        for pid in self.processes():
            try:
                identity = Identity.of(pid)
            except ProcessLookupError:
                continue
            if identity.alive():
                found.append(identity)
        return found


def _remove(directory: Path, deadline: float) -> None:
    """Remove a tree of groups, leaves first.

    The kernel empties a group some moments after its last process has ended;
    cgroup v1 has no event for that, so the removal is tried again.
    """
    if not directory.exists():
        return
    groups = [path for path, _, _ in os.walk(directory, topdown=False)]
    for group in groups:
        while True:
            try:
                os.rmdir(group)
            except FileNotFoundError:
                pass
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
                continue
            break
