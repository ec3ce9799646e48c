"""What a command and everything it starts take: time, processors, memory, disk."""

from __future__ import annotations

import os
import stat
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile

from lab.cgroups import Cgroup, hierarchies

LOOK_SECONDS = 0.1


@dataclass
class Used:
    """The sums of one run, in seconds and bytes."""

    wall: float = 0.0
    cpu: float = 0.0
    disk: int = 0
    # The largest resident size of every program, by name.
    rss: dict[str, int] = field(default_factory=dict)
    output: str = ""

    def rss_of(self, *names: str) -> int:
        """Of programs whose names begin so, together; LookupError if none ran."""
        found = [size for name, size in self.rss.items() if name.startswith(names)]
        if not found:
            raise LookupError(f"none of {names} among {sorted(self.rss)}")
        return sum(found)


def run(argv: list[str], group: tuple[str, ...], scratch: Path) -> Used:
    """Run to the end; RuntimeError if it fails.

    Temporary files are those below `scratch` and those without a name that a
    process of the tree has open; they are looked at ten times a second.
    """
    cgroup = Cgroup(*group)
    cgroup.create()
    used = Used()
    with TemporaryFile("w+", errors="replace") as output:
        begun = time.monotonic()
        process = subprocess.Popen(
            cgroup.wrap(argv),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        inode = os.fstat(output.fileno()).st_ino
        try:
            while process.poll() is None:
                _look(cgroup, scratch, inode, used)
                try:
                    process.wait(LOOK_SECONDS)
                except subprocess.TimeoutExpired:
                    continue
            used.wall = time.monotonic() - begun
            used.cpu = _cpu_seconds(group)
        finally:
            cgroup.destroy()
        output.seek(0)
        used.output = output.read()
    if process.returncode != 0:
        raise RuntimeError(f"status {process.returncode}: {used.output[-3000:]}")
    return used


def _cpu_seconds(group: tuple[str, ...]) -> float:
    """What the group has used, processes that have ended included."""
    # The kernel keeps this for every group of cgroup2, without any controller.
    text = hierarchies()[0].joinpath(*group, "cpu.stat").read_text()
    return int(dict(line.split() for line in text.splitlines())["usage_usec"]) / 1e6


def _look(cgroup: Cgroup, scratch: Path, output: int, used: Used) -> None:
    disk = sum(_size(path) for path in _files(scratch))
    unnamed: dict[int, int] = {}
    for pid in cgroup.processes():
        proc = Path(f"/proc/{pid}")
        try:
            for fd in (proc / "fd").iterdir():
                unnamed |= _unnamed(fd)
            status = (proc / "status").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended
        lines = dict(line.split(":", 1) for line in status.splitlines())
        name = lines["Name"].strip()
        size = int(lines.get("VmHWM", "0 kB").split()[0]) << 10
        used.rss[name] = max(used.rss.get(name, 0), size)
    unnamed.pop(output, None)
    used.disk = max(used.disk, disk + sum(unnamed.values()))


def _files(directory: Path) -> list[Path]:
    """Regular files, not those of the overlays' memory."""
    return [
        Path(parent) / name
        for parent, directories, names in os.walk(directory)
        for name in names
        if "memory" not in Path(parent).parts
    ]


def _size(path: Path) -> int:
    try:
        return os.lstat(path).st_blocks * 512
    except FileNotFoundError:
        return 0


def _unnamed(fd: Path) -> dict[int, int]:
    """Inode and size of an open file that nobody else can find."""
    try:
        found = os.stat(fd)
    except (FileNotFoundError, ProcessLookupError):
        return {}
    unnamed = stat.S_ISREG(found.st_mode) and found.st_nlink == 0
    return {found.st_ino: found.st_blocks * 512} if unnamed else {}
