"""The test's side of a virtual machine: through its SSH, as an operator's."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Sequence

from lab import network, settings
from lab.guests import config_drive
from lab.guests.guest import AGENT_UNIT, PATH, Guest

ACCOUNT = "ubuntu"


class VirtualGuest(Guest):
    """A server of the lab's cloud that is a virtual machine."""

    def command(self, argv: Sequence[str]) -> list[str]:
        """The command that runs `argv` inside the guest as root."""
        self.leader()  # says that it is off
        clean = ["sudo", "-n", "env", "-i", f"PATH={PATH}", "HOME=/root", "LC_ALL=C.UTF-8"]
        return self._ssh(shlex.join([*clean, *argv]))

    def run(
        self,
        argv: Sequence[str],
        *,
        input: str | None = None,
        check: bool = True,
        timeout: float = 60.0,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program in the guest; raises GuestError if it fails."""
        self._connect()
        timeout *= settings.patience()
        return super().run(argv, input=input, check=check, timeout=timeout)

    def wait_message(self, text: str, timeout: float, unit: str = AGENT_UNIT) -> str:
        """Wait until the unit has logged a line that contains `text`."""
        self._connect()
        return super().wait_message(text, timeout * settings.patience(), unit)

    def _connect(self) -> None:
        """Open the connection that all commands share: key exchanges are slow here.

        It stays for some time without holding the output of any of them.
        """
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        if subprocess.run(self._ssh("-O", "check"), **quiet).returncode != 0:
            subprocess.run(self._ssh("-M", "-N", "-f"), stdin=subprocess.DEVNULL, **quiet)

    def _ssh(self, *more: str) -> list[str]:
        options = {
            "ControlPath": self._directory / "ssh.sock",
            "ControlPersist": "300",
            "ConnectTimeout": "60",
            "StrictHostKeyChecking": "no",
            "UserKnownHostsFile": "/dev/null",
            "LogLevel": "ERROR",
            "BatchMode": "yes",
            # A machine that has gone closes nothing.
            "ServerAliveInterval": "15",
            "ServerAliveCountMax": "8",
        }
        ssh = ["ssh", "-i", str(config_drive.ssh_key(self._directory.parents[1]))]
        for name, value in options.items():
            ssh += ["-o", f"{name}={value}"]
        flags, command = (more, ()) if more[0].startswith("-") else ((), more)
        ssh += [*flags, f"{ACCOUNT}@{self.management_address}", *command]
        return network.entering(self.spec.namespace.rpartition("-")[0], ssh)

    def journal(self, unit: str | None = AGENT_UNIT) -> list[dict[str, str]]:
        """Journal entries, oldest first; only while it runs."""
        argv = ["journalctl", "--output=json", "--all", "--quiet", "--no-pager"]
        if unit:
            argv.append(f"--unit={unit}")
        return [json.loads(line) for line in self.run(argv).stdout.splitlines()]

    def console(self) -> str:
        """What the serial console has shown since the guest was created."""
        return (self._directory / "console.log").read_text(errors="replace")
