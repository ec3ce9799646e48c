"""The test's side of one guest: run commands, read files and the journal."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from lab.guests.spec import Spec
from lab.network import MANAGEMENT, USER, Segment
from lab.processes import Identity

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
AGENT_UNIT = "trove-guestagent.service"


class GuestError(RuntimeError):
    """A command in a guest failed; shows both outputs."""


class Guest:
    """A server of the lab's cloud. Stays usable for its logs after its end."""

    def __init__(self, directory: Path, logs: Path) -> None:
        self._directory = directory
        self._logs = logs / directory.name
        self.spec = Spec.load(directory / "spec.json")
        self.id = self.spec.id
        self.instance_id = self.spec.instance_id

    def address(self, segment: Segment = USER) -> str:
        """The guest's address where databases are used, or on `segment`."""
        return next(nic.address for nic in self.spec.nics if nic.segment == segment)

    @property
    def management_address(self) -> str:
        """The address the agent speaks from."""
        return self.address(MANAGEMENT)

    def leader(self) -> Identity:
        """The guest's init as the machine sees it."""
        try:
            record = json.loads((self._directory / "run.json").read_text())
        except FileNotFoundError:
            raise GuestError(f"guest {self.id} is powered off") from None
        return Identity(**record["leader"])

    def running(self) -> bool:
        """Whether the guest is powered on."""
        try:
            return self.leader().alive()
        except GuestError:
            return False

    def command(self, argv: Sequence[str]) -> list[str]:
        """The command that runs `argv` inside the guest as root."""
        enter = ["nsenter", f"--target={self.leader().pid}"]
        enter += ["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--"]
        clean = ["env", "-i", f"PATH={PATH}", "HOME=/root", "LC_ALL=C.UTF-8"]
        return enter + clean + list(argv)

    def run(
        self,
        argv: Sequence[str],
        *,
        input: str | None = None,
        check: bool = True,
        timeout: float = 60.0,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program in the guest; raises GuestError if it fails."""
        try:
            done = subprocess.run(
                self.command(argv),
                input=input,
                stdin=subprocess.DEVNULL if input is None else None,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout,
            )
        except subprocess.TimeoutExpired:
            limit = f"within {timeout} s"
            raise GuestError(f"{shlex.join(argv)} did not end {limit}") from None
        if check and done.returncode != 0:
            raise GuestError(
                f"{shlex.join(argv)} ended with {done.returncode}\n"
                f"{done.stdout}{done.stderr}"
            )
        return done

    def sh(
        self,
        script: str,
        input: str | None = None,
        *,
        check: bool = True,
        timeout: float = 60.0,
    ) -> str:
        """Run a shell script in the guest; its standard output."""
        argv = ["sh", "-c", script]
        done = self.run(argv, input=input, check=check, timeout=timeout)
        return done.stdout

    def wait_booted(self, timeout: float = 60.0) -> str:
        """Wait for the end of the boot: `running` or `degraded`."""
        deadline = time.monotonic() + timeout
        argv = ["systemctl", "is-system-running", "--wait"]
        while True:
            state = self.run(argv, check=False, timeout=timeout).stdout.strip()
            if state in ("running", "degraded", "maintenance"):
                return state
            # Too early: there is no bus yet over which systemctl could wait.
            if time.monotonic() > deadline:
                raise TimeoutError(f"guest {self.id} has no system bus")
            time.sleep(0.05)

    def read_file(self, path: str) -> str:
        """Contents of a file in the guest, volumes included."""
        return self.run(["cat", path]).stdout

    def write_file(self, path: str, content: str) -> None:
        """Replace a file's contents; owner and mode stay as they are."""
        self.run(["tee", path], input=content)

    def journal(self, unit: str | None = AGENT_UNIT) -> list[dict[str, str]]:
        """Journal entries, oldest first; works while it runs and after its end."""
        places = (
            self._directory / "upper/var/log/journal",
            self._logs / "var-log/journal",
        )
        for place in places:
            if place.is_dir():
                break
        else:
            raise GuestError(f"guest {self.id} left no journal")
        argv = [
            "journalctl",
            f"--directory={place}",
            "--output=json",
            "--all",
            "--quiet",
        ]
        if unit:
            argv.append(f"--unit={unit}")
        lines = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
        return [json.loads(line) for line in lines.splitlines()]

    def messages(self, unit: str | None = AGENT_UNIT) -> list[str]:
        """The journal's messages alone."""
        return [str(entry.get("MESSAGE", "")) for entry in self.journal(unit)]

    def wait_message(self, text: str, timeout: float, unit: str = AGENT_UNIT) -> str:
        """Wait until the unit has logged a line that contains `text`."""
        follow = ["journalctl", "--follow", "--lines=all", "--output=cat", "--quiet"]
        process = subprocess.Popen(
            ["timeout", str(timeout), *self.command([*follow, f"--unit={unit}"])],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if text in line:
                    return line.rstrip("\n")
        finally:
            process.terminate()
            process.wait()
        raise TimeoutError(
            f"guest {self.id}: {unit} did not log {text!r} in {timeout} s"
        )

    def unit(self, name: str = AGENT_UNIT) -> dict[str, str]:
        """Properties of a unit as `systemctl show` prints them."""
        lines = self.run(["systemctl", "show", name]).stdout.splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    def agent_pid(self) -> int:
        """Pid of the agent inside the guest; 0 if it does not run."""
        return int(self.unit()["MainPID"])

    def kill_agent(self, signum: int = signal.SIGKILL) -> None:
        """Send a signal to the agent's main process only."""
        name = signal.Signals(signum).name
        argv = ["systemctl", "kill", "--kill-whom=main", f"--signal={name}", AGENT_UNIT]
        self.run(argv)

    def wait_agent_restarted(self, old_pid: int, timeout: float = 30.0) -> int:
        """Wait until another process is the agent; its pid."""
        deadline = time.monotonic() + timeout
        while True:
            unit = self.unit()
            pid = int(unit["MainPID"])
            if unit["ActiveState"] == "active" and pid not in (0, old_pid):
                return pid
            if time.monotonic() > deadline:
                raise TimeoutError(f"the agent of {self.id} is {unit['ActiveState']}")
            time.sleep(0.1)

    def pull_plug(self) -> None:
        """Power loss: everything in the guest dies at once."""
        leader = self.leader()
        leader.kill(signal.SIGKILL)
        leader.wait(10)
