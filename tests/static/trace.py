"""Which files a program opened, from strace's records.

`strace -ff` writes one file per thread. The program of a thread is the one of
its parent until it starts another, so that what the agent's children load (they
are programs of the root, with its libraries) is not taken for the agent's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

CALLS = "execve,open,openat,openat2,fork,vfork,clone,clone3"

_EXECUTED = re.compile(r'^execve\("([^"]+)".*\) = 0$')
_OPENED = re.compile(r'^open(?:at2?)?\((?:\w+, )?"([^"]+)"')
_STARTED = re.compile(r"^(?:fork|vfork|clone3?)\(.*\) = (\d+)$")


def command(prefix: Path) -> list[str]:
    """What to put before a command to have it recorded."""
    return ["strace", "-ff", "-qq", "-s", "4096", "-e", f"trace={CALLS}", "-o", str(prefix)]


@dataclass
class _Thread:
    events: list[tuple[str, str]] = field(default_factory=list)


def _read(path: Path) -> _Thread:
    thread = _Thread()
    patterns = {"execute": _EXECUTED, "open": _OPENED, "start": _STARTED}
    for line in path.read_text(errors="replace").splitlines():
        for kind, pattern in patterns.items():
            if found := pattern.search(line.rstrip()):
                thread.events.append((kind, found[1]))
    return thread


def opened(prefix: Path, program: str) -> list[str]:
    """Every file that `program` tried to open, in its threads and before its
    children became other programs; LookupError if it never ran."""
    threads = {
        path.name.rpartition(".")[2]: _read(path)
        for path in prefix.parent.glob(prefix.name + ".*")
    }
    started = {pid for t in threads.values() for kind, pid in t.events if kind == "start"}
    ran = False

    def walk(pid: str, running: str) -> Iterator[tuple[str, str]]:
        nonlocal ran
        for kind, value in threads.get(pid, _Thread()).events:
            if kind == "execute":
                running = value
                ran |= running == program
            elif kind == "start":
                yield from walk(value, running)
            else:
                yield running, value

    # A second one would be a thread whose start was overlooked.
    (first,) = set(threads) - started
    files = [file for runner, file in walk(first, "") if runner == program]
    if not ran:
        raise LookupError(f"{program} did not run")
    return files


def shared_objects(prefix: Path, program: str) -> list[str]:
    """The shared libraries among `opened`."""
    return [path for path in opened(prefix, program) if re.search(r"\.so(\.|$)", path)]
