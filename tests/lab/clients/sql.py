"""The stock command line client of each datastore, from its own guest tree."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from lab import network

PROGRAMS = {"mysql": "mysql", "mariadb": "mariadb"}


class SqlError(RuntimeError):
    """The client failed; the message is what it wrote."""


@dataclass(frozen=True)
class SqlClient:
    """Logs in over TCP from the lab's network, one process per statement."""

    datastore: str
    tree: Path
    namespace: str
    host: str
    user: str
    password: str
    database: str = ""

    def command(self, *arguments: str) -> list[str]:
        """The client's command line; the password is in its environment."""
        program = [PROGRAMS[self.datastore], "--no-defaults", "--protocol=tcp"]
        login = [f"--host={self.host}", f"--user={self.user}"]
        connect = ["--connect-timeout=10", *arguments]
        database = [self.database] if self.database else []
        root = ["chroot", str(self.tree)]
        return network.entering(
            self.namespace, root + program + login + connect + database
        )

    def environment(self) -> dict[str, str]:
        """What the client's process needs to log in."""
        return {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "MYSQL_PWD": self.password,
            "LC_ALL": "C.UTF-8",
            "HOME": "/nonexistent",
        }

    def execute(self, sql: str) -> list[list[str]]:
        """Run statements; the rows of the last ones, as text."""
        done = subprocess.run(
            self.command("--batch", "--skip-column-names"),
            input=sql,
            capture_output=True,
            text=True,
            timeout=60,
            env=self.environment(),
        )
        if done.returncode != 0:
            raise SqlError(done.stderr.strip())
        return [line.split("\t") for line in done.stdout.splitlines()]
