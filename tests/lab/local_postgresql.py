"""A PostgreSQL server of a directory, with a socket only, as a program of the lab.

The counterpart of local_server.py. It refuses to run as root and looks for its
account's name, so it always runs in a Room, as the account it has in guests.
"""

from __future__ import annotations

import csv
import io
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from lab.room import ACCOUNT, NUMBER, Room, Tools

if TYPE_CHECKING:
    from lab.lab import Lab

CONFIG = "/etc/postgresql/local.conf"
ACCESS = "/etc/postgresql/local_hba.conf"
SUPERUSER = "postgres"
LOCALE = "en_US.utf8"
# As Trove's template has it. Data is thrown away: nothing waits for the disk.
# Upstream's program asks for checkpoints that take their time; these have none.
OPTIONS = """\
listen_addresses = ''
unix_socket_directories = '/run/postgresql'
hba_file = '{access}'
shared_buffers = 256MB
max_wal_size = 1GB
checkpoint_completion_target = 0
checkpoint_timeout = 30s
fsync = off
full_page_writes = on
wal_level = replica
wal_log_hints = on
archive_mode = on
archive_command = 'test ! -f {archive}/%f && cp %p {archive}/.%f && mv {archive}/.%f {archive}/%f'
restore_command = 'cp {archive}/%f "%p"'
"""
RULES = "local all all trust\nlocal replication all trust\n"


class LocalPostgresql:
    """`directory` with its server; made empty, or given with restored data."""

    def __init__(self, lab: Lab, tools: Tools, directory: Path) -> None:
        self.directory = directory
        self.data = directory / "data/pgdata"
        self.archive = directory / "data/wal_archive"
        self._lab = lab
        self._tools = tools
        self._process = f"server-{directory.name}"

    def create(self) -> None:
        """Initialise a data directory and start its server."""
        self.data.mkdir(parents=True)
        argv = ["initdb", f"--pgdata={self._inside(self.data)}", "--auth=trust"]
        argv += [f"--username={SUPERUSER}", f"--locale={LOCALE}", "--no-sync"]
        done = subprocess.run(self._command(argv), capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"initdb: {done.stdout}{done.stderr}")
        self.start()

    def start(self, *, recover: bool = False) -> None:
        """Start the server and wait until it takes changes.

        With `recover` it first applies all archived WAL: what an agent does
        with restored data.
        """
        if recover:
            (self.data / "recovery.signal").touch()
        argv = ["postgres", "-D", str(self._inside(self.data))]
        argv += ["-c", f"config_file={CONFIG}"]
        self._lab.start_process(self._process, self._command(argv))
        deadline = time.monotonic() + 120
        while True:
            try:
                if self.sql("select pg_is_in_recovery()") == [["f"]]:
                    return
                failure = RuntimeError("the recovery does not end")
            except RuntimeError as error:
                failure = error
            if self._lab.processes.get(self._process) is None:
                raise RuntimeError(
                    f"the server of {self.directory} ended; see log/{self._process}.out"
                )
            if time.monotonic() > deadline:
                raise failure
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop the server; no error if it does not run.

        SIGTERM waits for clients to go; there are none any more.
        """
        self._lab.processes.stop(self._process, grace=60)

    def sql(self, statements: str, database: str = SUPERUSER) -> list[list[str]]:
        """Run statements as the superuser; the rows of the last ones."""
        argv = [str(self._tools.home / "psql"), "--no-psqlrc", "--quiet", "--csv"]
        argv += ["--tuples-only", "--set=ON_ERROR_STOP=1"]
        argv += [f"--host={self.directory / 'run'}", f"--username={SUPERUSER}", database]
        done = subprocess.run(argv, input=statements, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(done.stderr.strip())
        return list(csv.reader(io.StringIO(done.stdout)))

    def _inside(self, path: Path) -> Path:
        """A path of the directory as it is called in the room."""
        return self._tools.mount_point / path.relative_to(self.directory)

    def _command(self, argv: list[str]) -> list[str]:
        """The command that runs a program of the server as its account."""
        for path in (self.data, self.archive, self.directory / "run"):
            path.mkdir(parents=True, exist_ok=True)
        self.data.chmod(0o700)
        owner = ["chown", "--recursive", f"{NUMBER}:{NUMBER}", str(self.directory)]
        subprocess.run(owner, check=True)
        scratch = self.directory.with_name(f"{self.directory.name}-tmp")
        options = OPTIONS.format(archive=self._inside(self.archive), access=ACCESS)
        files = {CONFIG: options, ACCESS: RULES}
        drop = ["setpriv", f"--reuid={ACCOUNT}", f"--regid={NUMBER}", "--clear-groups"]
        program = [str(self._tools.home / argv[0]), *argv[1:]]
        return Room(self.directory, scratch, self._tools).command(drop + program, files)

    def remove(self) -> None:
        """Stop the server and remove its directory."""
        self.stop()
        for path in (self.directory, self.directory.with_name(f"{self.directory.name}-tmp")):
            shutil.rmtree(path, ignore_errors=True)
