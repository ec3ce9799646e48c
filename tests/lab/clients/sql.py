"""The stock command line client of each datastore, from its own guest tree."""

from __future__ import annotations

import csv
import io
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from lab import network

# How the servers say no to somebody, rather than to something.
DENIED = re.compile(
    r"denied|password authentication failed|no password supplied|must be owner of|"
    r"no pg_hba\.conf entry|pg_hba\.conf rejects|not permitted to log in"
)
# psql is told what to do with an error: the others stop at one by themselves.
PSQL = ("psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1")


class SqlError(RuntimeError):
    """The client failed; the message is what it wrote."""


class SqlDenied(SqlError):
    """The server knows no such login, or gives it no right to do that."""


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
        if self.datastore == "postgresql":
            client = [*PSQL, *arguments, f"--dbname={self._conninfo()}"]
        else:
            client = [self.datastore, "--no-defaults", "--protocol=tcp"]
            client += [f"--host={self.host}", f"--user={self.user}"]
            client += ["--connect-timeout=10", *arguments]
            if self.datastore == "mariadb":
                # As the others do by themselves: TLS if the server has it.
                client.append("--ssl")
            client += [self.database] if self.database else []
        return network.entering(self.namespace, ["chroot", str(self.tree), *client])

    def _conninfo(self) -> str:
        """The login as libpq takes it, whatever characters are in the names.

        There is always a database; `postgres` is there for everybody.
        """

        def quoted(value: str) -> str:
            return "'" + re.sub(r"(['\\])", r"\\\1", value) + "'"

        words = {
            "host": self.host,
            "user": self.user,
            "dbname": self.database or "postgres",
            "connect_timeout": "10",
        }
        return " ".join(f"{name}={quoted(value)}" for name, value in words.items())

    def environment(self) -> dict[str, str]:
        """What the client's process needs to log in."""
        return {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "MYSQL_PWD": self.password,
            "PGPASSWORD": self.password,
            "LC_ALL": "C.UTF-8",
            "HOME": "/nonexistent",
        }

    def batch(self) -> list[str]:
        """The command line for statements on standard input, rows on output."""
        if self.datastore == "postgresql":
            return self.command("--csv", "--tuples-only")
        return self.command("--batch", "--skip-column-names", "--unbuffered")

    def execute(self, sql: str) -> list[list[str]]:
        """Run statements; the rows of the last ones, as text."""
        done = subprocess.run(
            self.batch(),
            input=sql,
            capture_output=True,
            text=True,
            timeout=60,
            env=self.environment(),
        )
        if done.returncode != 0:
            said = done.stderr.strip()
            raise (SqlDenied if DENIED.search(said) else SqlError)(said)
        return rows(self.datastore, done.stdout)


def rows(datastore: str, output: str) -> list[list[str]]:
    """What the datastore's client printed."""
    if datastore == "postgresql":
        return list(csv.reader(io.StringIO(output)))
    return [line.split("\t") for line in output.splitlines()]
