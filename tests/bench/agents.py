"""The two agents as processes: start, look at, stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

UPSTREAM = Path(__file__).with_name("upstream_agent.py")
STOP_SECONDS = 30
TICKS = os.sysconf("SC_CLK_TCK")

# Memory is at rest when it has kept its size for this long, looked at this
# often; it is an error if it never does.
REST_SECONDS = 3.0
LOOK_SECONDS = 0.25
RESTLESS_SECONDS = 90.0


@dataclass(frozen=True)
class Agent:
    """One side of the comparison."""

    side: str
    command: tuple[str, ...]

    @contextmanager
    def started(self, config_dir: Path, log: Path) -> Iterator["Running"]:
        """Run the agent; it is asked to end, and killed if it does not."""
        argv = [*self.command, f"--config-dir={config_dir}"]
        with open(log, "ab") as output:
            begun = time.monotonic()
            process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        try:
            yield Running(process, begun)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def ours(binary: Path) -> Agent:
    """The static binary."""
    return Agent("ours", (str(binary),))


def upstream() -> Agent:
    """Upstream's agent in the Python environment that runs this."""
    return Agent("upstream", (sys.executable, str(UPSTREAM)))


@dataclass(frozen=True)
class Memory:
    """Sizes from /proc/PID/status, in bytes."""

    rss: int
    anonymous: int


class Running:
    """A started agent. `begun` is the moment before fork and exec."""

    def __init__(self, process: subprocess.Popen[bytes], begun: float) -> None:
        self._process = process
        self._proc = Path(f"/proc/{process.pid}")
        self.begun = begun

    def cpu_seconds(self) -> float:
        """User and system time used so far (proc(5), fields 14 and 15)."""
        stat = (self._proc / "stat").read_text().rpartition(")")[2].split()
        return (int(stat[11]) + int(stat[12])) / TICKS

    def memory(self) -> Memory:
        """The sizes now."""
        kib = {}
        for line in (self._proc / "status").read_text().splitlines():
            name, _, value = line.partition(":")
            if name in ("VmRSS", "RssAnon"):
                kib[name] = int(value.split()[0])
        return Memory(kib["VmRSS"] << 10, kib["RssAnon"] << 10)

    def memory_at_rest(self) -> Memory:
        """The sizes once they have stopped changing."""
        now = time.monotonic()
        deadline = now + RESTLESS_SECONDS
        last, since = self.memory(), now
        while now - since < REST_SECONDS:
            if now > deadline:
                raise TimeoutError(f"memory of process {self._process.pid} never rests")
            time.sleep(LOOK_SECONDS)
            now = time.monotonic()
            if (memory := self.memory()) != last:
                last, since = memory, now
        return last
