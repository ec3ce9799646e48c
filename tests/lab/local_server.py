"""A MariaDB server of a directory, with a socket only, as a program of the lab.

For backups without a guest. The directory is laid out as a guest's data volume
(`data` is the datadir), so that a program which knows only the paths of a guest
finds everything there: see Room.
"""

from __future__ import annotations

import shlex
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lab.lab import Lab

ADMIN, PASSWORD = "os_admin", "l0cal-server-pw"
# The account of databases in guests, with its number there.
ACCOUNT, NUMBER = "database", 1001
MOUNT_POINT = Path("/var/lib/mysql")
SOCKET_DIR = Path("/run/mysqld")
# Data is thrown away: nothing waits for the disk.
OPTIONS = (
    "--skip-networking",
    "--innodb-log-file-size=16M",
    # The size guests are configured with: it is fixed when data is made.
    "--innodb-data-file-path=ibdata1:10M:autoextend",
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-flush-method=nosync",
)
DEFAULTS = """\
[client]
socket = {socket}
[mysqld]
innodb_log_file_size = 16M
innodb_data_file_path = ibdata1:10M:autoextend
"""


@dataclass(frozen=True)
class Tools:
    """Programs of the datastore's guest tree that run on this machine."""

    programs: Path  # usr of the linked copies
    tree: Path

    @property
    def path(self) -> str:
        """PATH with the backup tools first."""
        return f"{self.programs}/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class LocalServer:
    """`directory` with its server; made empty, or given with restored data.

    With `as_guest` it runs in a Room, as the account it has in guests: for
    programs that give up root's rights before they look at its data.
    """

    def __init__(
        self, lab: Lab, tools: Tools, directory: Path, *, as_guest: bool = False
    ) -> None:
        self.directory = directory
        self.data = directory / "data"
        self._lab = lab
        self._tools = tools
        self._as_guest = as_guest
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
        argv = [str(self._tools.programs / "sbin/mariadbd"), "--no-defaults", *OPTIONS]
        argv += ["--skip-grant-tables"] if without_accounts else []
        if self._as_guest:
            owner = ["chown", "--recursive", f"{NUMBER}:{NUMBER}", str(self.directory)]
            subprocess.run(owner, check=True)
            argv += [f"--user={ACCOUNT}", f"--datadir={MOUNT_POINT / 'data'}"]
            argv += [f"--socket={SOCKET_DIR / self.socket.name}"]
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


class Room:
    """A private view of this machine in which a directory is a guest's volume.

    System directories are overlays whose changes go to memory, with the
    datastore's tools where its packages would put them; /tmp is `scratch`.
    Nothing of the machine changes, and all of it vanishes with the last process.
    Neither the lab's cache nor its state may be below /tmp.
    """

    OVERLAYS = ("/etc", "/run", "/var/lib", "/usr/bin", "/usr/sbin")
    PROGRAMS = ("bin/mariadb-backup", "bin/mbstream", "sbin/mariadbd")

    def __init__(self, directory: Path, scratch: Path, tools: Tools) -> None:
        self._directory = directory
        self._scratch = scratch
        self._tools = tools

    def command(self, argv: list[str], files: dict[str, str] | None = None) -> list[str]:
        """The command that runs `argv` in there; `files` are written before."""
        contents = {"/etc/mysql/my.cnf": self._defaults(), **(files or {})}
        lines = ["set -eu", f"mkdir -p {self._quoted(self._scratch)}"]
        memory = self._scratch / "memory"
        lines += [f"mkdir -p {memory}", f"mount -t tmpfs tmpfs {memory}"]
        for path in self.OVERLAYS:
            layers = memory / path.strip("/").replace("/", "-")
            lines.append(f"mkdir -p {layers}/upper {layers}/work")
            options = f"lowerdir={path},upperdir={layers}/upper,workdir={layers}/work"
            lines.append(f"mount -t overlay -o {options} overlay {path}")
        for program in self.PROGRAMS:
            lines.append(f"ln -sf {self._tools.programs / program} /usr/{program}")
        entry = f"{ACCOUNT}:x:{NUMBER}:{NUMBER}::/nonexistent:/usr/sbin/nologin"
        lines.append(f"id {ACCOUNT} >/dev/null 2>&1 || echo {entry} >>/etc/passwd")
        lines.append(f"echo {ACCOUNT}:x:{NUMBER}: >>/etc/group")
        lines.append(f"chmod 1777 {self._quoted(self._scratch)}")
        for source, target in (
            (self._directory, MOUNT_POINT),
            (self._directory / "run", SOCKET_DIR),
        ):
            lines.append(f"mkdir -p {self._quoted(source)} {target}")
            lines.append(f"mount --bind {self._quoted(source)} {target}")
        for path, text in contents.items():
            lines.append(f"mkdir -p {shlex.quote(str(Path(path).parent))}")
            lines.append(f"printf %s {shlex.quote(text)} >{shlex.quote(path)}")
        lines.append(f"mount --bind {self._quoted(self._scratch)} /tmp")
        lines.append(f"export PATH={shlex.quote(self._tools.path)} LC_ALL=C.UTF-8")
        lines.append('exec "$@"')
        private = ["unshare", "--mount", "--propagation=private", "--"]
        return [*private, "sh", "-c", "\n".join(lines), "sh", *argv]

    @staticmethod
    def _defaults() -> str:
        return DEFAULTS.format(socket=SOCKET_DIR / "mysqld.sock")

    @staticmethod
    def _quoted(path: Path) -> str:
        return shlex.quote(str(path))
