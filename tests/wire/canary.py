"""Secrets that must never show up anywhere, and where they might."""

from __future__ import annotations

import hashlib
import os
import secrets
import string
import threading
from pathlib import Path
from urllib.parse import quote

from lab import rabbitmq
from lab.cgroups import Cgroup

LETTERS = string.ascii_letters + string.digits
# Between two looks at the processes; short compared to a child's life.
LOOK_SECONDS = 0.02

_known: dict[str, str] = {}


def keep(kind: str, value: str) -> str:
    """Remember a secret, in every form in which it might be told."""
    _known[value] = kind
    _known[quote(value, safe="")] = kind
    if kind == "RPC key":
        # The AES key that is derived from it.
        _known[hashlib.md5(value.encode()).hexdigest()] = kind
    return value


def make(kind: str, length: int = 32) -> str:
    """A new secret of letters and digits, remembered."""
    return keep(kind, "".join(secrets.choice(LETTERS) for _ in range(length)))


keep("broker password", rabbitmq.PASSWORD)


def count() -> int:
    """How many strings are looked for."""
    return len(_known)


def found_in(data: bytes) -> set[str]:
    """Kinds of the secrets that `data` contains."""
    return {kind for value, kind in _known.items() if value.encode() in data}


def tell_tales(root: Path, *, only_readable: bool) -> list[str]:
    """Files below `root` that contain a secret, optionally only those that
    everybody may read. Stays on one file system, opens regular files only."""
    tales = []
    device = root.stat().st_dev
    for directory, names, files in os.walk(root):
        names[:] = [n for n in names if os.lstat(f"{directory}/{n}").st_dev == device]
        for name in files:
            path = Path(directory, name)
            status = path.lstat()
            regular = (status.st_mode & 0o170000) == 0o100000
            if not regular or (only_readable and not status.st_mode & 0o004):
                continue
            if kinds := found_in(path.read_bytes()):
                tales.append(f"{path} ({status.st_mode & 0o777:o}): {sorted(kinds)}")
    return tales


class Watch:
    """Looks at arguments and environment of every process of agents and guests."""

    def __init__(self, lab: str) -> None:
        self._groups = [Cgroup(lab, "agents"), Cgroup(lab, "guests")]
        self.seen: set[bytes] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="canary", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            for group in self._groups:
                for pid in group.processes():
                    for file in ("cmdline", "environ"):
                        try:
                            self.seen.add(Path(f"/proc/{pid}/{file}").read_bytes())
                        except OSError:
                            break  # gone
