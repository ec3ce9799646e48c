"""Processes of the lab: recorded by pid, recognised by start time, stopped.

A pid alone may belong to another process by the time we use it. Together with
the start time from /proc it names one process for ever.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Identity:
    """One process, not merely one pid. `start_time` is in clock ticks."""

    pid: int
    start_time: int

    @classmethod
    def of(cls, pid: int) -> Identity:
        """The identity of a living process; ProcessLookupError if it is gone."""
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except FileNotFoundError:
            raise ProcessLookupError(pid) from None
        # Field 22 of proc(5); the name in field 2 may contain blanks.
        return cls(pid, int(stat.rpartition(")")[2].split()[19]))

    def alive(self) -> bool:
        """Whether this process still runs (a zombie does not)."""
        try:
            stat = Path(f"/proc/{self.pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return False
        fields = stat.rpartition(")")[2].split()
        return int(fields[19]) == self.start_time and fields[0] not in "ZX"

    def open(self) -> int | None:
        """A pidfd of this very process, or None if it is gone."""
        try:
            pidfd = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return None
        if self.alive():  # checked after opening: the fd cannot change hands
            return pidfd
        os.close(pidfd)
        return None

    def kill(self, signum: int) -> bool:
        """Send a signal; False if the process is gone."""
        pidfd = self.open()
        if pidfd is None:
            return False
        try:
            signal.pidfd_send_signal(pidfd, signum)
            return True
        except ProcessLookupError:
            return False
        finally:
            os.close(pidfd)

    def wait(self, timeout: float) -> bool:
        """Wait for the end; False if it still runs after `timeout` seconds."""
        pidfd = self.open()
        if pidfd is None:
            return True
        try:
            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            return bool(poll.poll(timeout * 1000))
        finally:
            os.close(pidfd)

    def stop(self, grace: float, signum: int = signal.SIGTERM) -> bool:
        """End the process: ask, wait `grace` seconds, then kill.

        True if it ended by itself within the grace time.
        """
        self.kill(signum)
        if self.wait(grace):
            return True
        self.kill(signal.SIGKILL)
        self.wait(10)
        return False


class ProcessTable:
    """The lab's own long-running processes, one JSON record each."""

    def __init__(self, run: Path, log: Path) -> None:
        self._run = run
        self._log = log

    def start(
        self,
        name: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> Identity:
        """Start a daemon in its own session; output goes to `<name>.out`.

        Must not run already. The record is written before this returns, so
        whoever cleans up after a crash finds the process.
        """
        self._log.mkdir(parents=True, exist_ok=True)
        self._run.mkdir(parents=True, exist_ok=True)
        with open(self._log / f"{name}.out", "ab") as output:
            process = subprocess.Popen(
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=cwd,
                env={**os.environ, **(env or {})},
                start_new_session=True,
            )
        identity = Identity.of(process.pid)
        record = {**asdict(identity), "argv": list(argv)}
        self._record(name).write_text(json.dumps(record))
        return identity

    def get(self, name: str) -> Identity | None:
        """The running process of that name, if any."""
        try:
            record = json.loads(self._record(name).read_text())
        except FileNotFoundError:
            return None
        identity = Identity(record["pid"], record["start_time"])
        return identity if identity.alive() else None

    def names(self) -> list[str]:
        """Every name that has a record, running or not."""
        return sorted(path.stem for path in self._run.glob("*.json"))

    def stop(self, name: str, grace: float = 20.0) -> None:
        """Stop one process and forget it; no error if it is gone."""
        identity = self.get(name)
        if identity is not None:
            identity.stop(grace)
        self._record(name).unlink(missing_ok=True)

    def _record(self, name: str) -> Path:
        return self._run / f"{name}.json"
