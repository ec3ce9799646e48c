"""Upstream's backup program, run as upstream's agent runs it in its container.

The program is unchanged. It knows the paths of its container only; a Room puts
the server's directory there. It exits with 0 also when it has failed: what it
said last is its verdict, as it is for upstream's agent.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from lab import network
from lab.local_server import ADMIN, PASSWORD
from lab.room import Room, Tools

DRIVERS = {"mariadb": "mariabackup", "postgresql": "pg_basebackup"}
LOGINS = {
    "mariadb": ["--db-host=localhost", f"--db-user={ADMIN}", f"--db-password={PASSWORD}"],
    # Its administrator needs no password where the server is.
    "postgresql": ["--db-host=localhost", "--db-user=postgres", "--db-password="],
}
# What must be there for a restore.
DIRECTORIES = {"mariadb": ["data"], "postgresql": ["data/pgdata", "data/wal_archive"]}
# The segment size is a constant inside the program; only tests of large
# objects start it this way.
SMALL_SEGMENTS = """\
import runpy, sys
size = int(sys.argv.pop(1))
sys.argv = sys.argv[1:]
sys.path.insert(0, {directory!r})
from backup.storage import swift
made = swift.StreamReader.__init__
def smaller(self, stream, container, filename, max_file_size):
    made(self, stream, container, filename, size)
swift.StreamReader.__init__ = smaller
runpy.run_path(sys.argv[0], run_name="__main__")
"""


class UpstreamFailed(RuntimeError):
    """The program's verdict was not success; the message is what it said."""


@dataclass(frozen=True)
class Backup:
    """A finished backup as the program reports it."""

    location: str
    checksum: str


@dataclass(frozen=True)
class UpstreamBackup:
    """The program with all it needs; `url` and `token` are for the account."""

    namespace: str
    python: Path
    program: Path
    tools: Tools
    scratch: Path
    url: str
    token: str
    container: str

    def backup_command(
        self,
        datastore: str,
        server: Path,
        backup_id: str,
        parent: Backup | None = None,
        segment_size: int | None = None,
    ) -> list[str]:
        """The command line of a backup, with its namespaces."""
        more = []
        if parent is not None:
            more = ["--incremental", f"--parent-location={parent.location}"]
            more.append(f"--parent-checksum={parent.checksum}")
        return self._command(
            server,
            [
                "--backup",
                f"--backup-id={backup_id}",
                *self._common(datastore),
                *LOGINS[datastore],
                f"--swift-extra-metadata=datastore:{datastore},"
                f"datastore_version:{self.tools.series}",
                f"--swift-container={self.container}",
                *more,
            ],
            segment_size,
        )

    def restore_command(self, datastore: str, backup: Backup, target: Path) -> list[str]:
        """The command line of a restore into an empty directory."""
        return self._command(
            target,
            [
                "--nobackup",
                *self._common(datastore),
                f"--restore-from={backup.location}",
                f"--restore-checksum={backup.checksum}",
            ],
            None,
        )

    def backup(
        self,
        datastore: str,
        server: Path,
        backup_id: str,
        parent: Backup | None = None,
        segment_size: int | None = None,
    ) -> Backup:
        """Back a running server up; `server` is its LocalServer's directory."""
        output = self._run(
            self.backup_command(datastore, server, backup_id, parent, segment_size)
        )
        return self.verdict(output)

    @staticmethod
    def verdict(output: str) -> Backup:
        """What the program's output says of a backup."""
        said = r"Backup successfully, checksum: (\S+), location: (\S+)"
        if found := re.search(said, output.strip().splitlines()[-1]):
            return Backup(location=found[2], checksum=found[1])
        raise UpstreamFailed(output[-4000:])

    def restore(self, datastore: str, backup: Backup, target: Path) -> None:
        """Restore with all parents into `target`/data, which is made anew."""
        if (target / "data").exists():
            shutil.rmtree(target / "data")
        for directory in DIRECTORIES[datastore]:
            (target / directory).mkdir(parents=True)
        output = self._run(self.restore_command(datastore, backup, target))
        if "Restore successfully" not in output.strip().splitlines()[-1]:
            raise UpstreamFailed(output[-4000:])

    def _common(self, datastore: str) -> list[str]:
        driver = DRIVERS[datastore]
        login = [f"--os-token={self.token}", f"--swift-url={self.url}"]
        archive = []
        if datastore == "postgresql":
            archive = [f"--pg-wal-archive-dir={self.tools.mount_point}/data/wal_archive"]
        return ["--storage-driver=swift", f"--driver={driver}", *login, *archive]

    def _command(
        self, directory: Path, arguments: list[str], segment_size: int | None
    ) -> list[str]:
        main = [str(self.program / "backup/main.py"), *arguments]
        if segment_size is not None:
            code = SMALL_SEGMENTS.format(directory=str(self.program))
            main = ["-c", code, str(segment_size), *main]
        room = Room(directory, self.scratch, self.tools)
        argv = room.command([str(self.python), "-W", "ignore", *main])
        return network.entering(self.namespace, argv)

    def _run(self, argv: list[str]) -> str:
        """Both outputs, in the order they were written."""
        self.scratch.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        if done.returncode != 0 or not done.stdout.strip():
            raise UpstreamFailed(f"status {done.returncode}: {done.stdout[-4000:]}")
        return done.stdout
