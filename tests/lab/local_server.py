"""A MariaDB server of a directory, with a socket only, as a program of the lab.

For backups without a guest. The directory is laid out as a guest's data volume
(`data` is the datadir), so that a program which knows only the paths of a guest
finds everything there: see room.py.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lab.room import ACCOUNT, NUMBER, Room, Tools

if TYPE_CHECKING:
    from lab.lab import Lab

ADMIN, PASSWORD = "os_admin", "l0cal-server-pw"
# Data is thrown away: nothing waits for the disk.
OPTIONS = (
    "--skip-networking",
    "--innodb-log-file-size=16M",
    # The size guests are configured with: it is fixed when data is made.
    "--innodb-data-file-path=ibdata1:10M:autoextend",
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-flush-method=nosync",
)


class LocalServer:
    """`directory` with its server; made empty, or given with restored data.

    With `as_guest` it runs in a Room, as the account it has in guests: for
    programs that give up root's rights before they look at its data. `options`
    are stronger than those that every such server has.
    """

    def __init__(
        self,
        lab: Lab,
        tools: Tools,
        directory: Path,
        *,
        as_guest: bool = False,
        options: Sequence[str] = (),
    ) -> None:
        self.directory = directory
        self.data = directory / "data"
        self._lab = lab
        self._tools = tools
        self._as_guest = as_guest
        self._options = (*OPTIONS, *options)
        self._process = f"server-{directory.name}"

    @property
    def socket(self) -> Path:
        return self.directory / "run/mysqld.sock"

    def create(self) -> None:
        """Initialise a datadir with an account for backups."""
        self.data.mkdir(parents=True)
        script = self._tools.tree / "usr/bin/mariadb-install-db"
        argv = [str(script), "--no-defaults", f"--basedir={self._tools.programs}"]
        argv += [f"--datadir={self.data}", *OPTIONS, "--user=root", "--skip-test-db"]
        argv += ["--auth-root-authentication-method=normal"]
        done = subprocess.run(argv, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"mariadb-install-db: {done.stdout}{done.stderr}")
        self.start()
        account = f"'{ADMIN}'@'localhost'"
        self.sql(
            f"create user {account} identified by '{PASSWORD}'; "
            f"grant all on *.* to {account} with grant option"
        )

    def start(self, *, without_accounts: bool = False) -> None:
        """Start the server and wait until it answers.

        Restored data has accounts of its own: whoever wants to see into it goes
        around them.
        """
        self.socket.parent.mkdir(exist_ok=True)
        argv = [str(self._tools.programs / "sbin/mariadbd"), "--no-defaults"]
        argv += self._options
        argv += ["--skip-grant-tables"] if without_accounts else []
        if self._as_guest:
            owner = ["chown", "--recursive", f"{NUMBER}:{NUMBER}", str(self.directory)]
            subprocess.run(owner, check=True)
            data = self._tools.mount_point / "data"
            argv += [f"--user={ACCOUNT}", f"--datadir={data}"]
            argv += [f"--socket={self._tools.socket_dir / self.socket.name}"]
            scratch = self.directory.with_name(f"{self.directory.name}-tmp")
            argv = Room(self.directory, scratch, self._tools).command(argv)
        else:
            argv += ["--user=root", f"--datadir={self.data}"]
            argv += [f"--socket={self.socket}"]
        self._lab.start_process(self._process, argv)
        deadline = time.monotonic() + 60
        while True:
            try:
                self.sql("select 1")
                return
            except RuntimeError:
                if self._lab.processes.get(self._process) is None:
                    raise RuntimeError(
                        f"the server of {self.directory} ended; see "
                        f"log/{self._process}.out"
                    ) from None
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def stop(self) -> None:
        """Stop the server; no error if it does not run."""
        self._lab.processes.stop(self._process, grace=60)

    def sql(self, statements: str) -> list[list[str]]:
        """Run statements as root; the rows of the last ones."""
        argv = ["mariadb", "--no-defaults", "-uroot", f"--socket={self.socket}", "-BN"]
        done = subprocess.run(argv, input=statements, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(done.stderr.strip())
        return [line.split("\t") for line in done.stdout.splitlines()]
