"""A private view of this machine in which a directory is a guest's data volume.

For programs that know only the paths of a guest.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from lab.products import PRODUCTS

# The account of databases in guests, with its number there.
ACCOUNT, NUMBER = "database", 1001
# Where Debian has all programs of PostgreSQL and their data, below usr.
POSTGRESQL = Path("lib/postgresql")
SHARED = Path("share/postgresql")
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
    datastore: str = "mariadb"
    series: str = ""

    @property
    def home(self) -> Path:
        """The directory of the backup tools."""
        if self.datastore == "postgresql":
            return self.programs / POSTGRESQL / self.series / "bin"
        return self.programs / "bin"

    @property
    def path(self) -> str:
        """PATH with the backup tools first."""
        return f"{self.home}:/usr/sbin:/usr/bin:/sbin:/bin"

    @property
    def mount_point(self) -> Path:
        """Where the directory is to be seen."""
        return Path(PRODUCTS[self.datastore].mount_point)

    @property
    def socket_dir(self) -> Path:
        """Where the directory's `run` is to be seen."""
        name = "postgresql" if self.datastore == "postgresql" else "mysqld"
        return Path("/run") / name


    @property
    def files(self) -> dict[str, str]:
        """What the tools read in a guest."""
        if self.datastore == "postgresql":
            return {}
        return {"/etc/mysql/my.cnf": DEFAULTS.format(socket=self.socket_dir / "mysqld.sock")}


class Room:
    """System directories are overlays whose changes go to memory, with the
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
        tools = self._tools
        lines = ["set -eu", f"mkdir -p {self._quoted(self._scratch)}"]
        memory = self._scratch / "memory"
        lines += [f"mkdir -p {memory}", f"mount -t tmpfs tmpfs {memory}"]
        more = ("/usr/lib", "/usr/share") if tools.datastore == "postgresql" else ()
        for path in (*self.OVERLAYS, *more):
            layers = memory / path.strip("/").replace("/", "-")
            lines.append(f"mkdir -p {layers}/upper {layers}/work")
            options = f"lowerdir={path},upperdir={layers}/upper,workdir={layers}/work"
            lines.append(f"mount -t overlay -o {options} overlay {path}")
        binds = [
            (self._directory, tools.mount_point),
            (self._directory / "run", tools.socket_dir),
        ]
        if tools.datastore == "postgresql":
            for part in (POSTGRESQL, SHARED):
                binds.append((tools.programs / part, Path("/usr") / part))
        else:
            for program in self.PROGRAMS:
                lines.append(f"ln -sf {tools.programs / program} /usr/{program}")
        entry = f"{ACCOUNT}:x:{NUMBER}:{NUMBER}::/nonexistent:/usr/sbin/nologin"
        lines.append(f"id {ACCOUNT} >/dev/null 2>&1 || echo {entry} >>/etc/passwd")
        lines.append(f"echo {ACCOUNT}:x:{NUMBER}: >>/etc/group")
        lines.append(f"chmod 1777 {self._quoted(self._scratch)}")
        for source, target in binds:
            lines.append(f"mkdir -p {self._quoted(source)} {target}")
            lines.append(f"mount --bind {self._quoted(source)} {target}")
        for path, text in {**tools.files, **(files or {})}.items():
            lines.append(f"mkdir -p {shlex.quote(str(Path(path).parent))}")
            lines.append(f"printf %s {shlex.quote(text)} >{shlex.quote(path)}")
        lines.append(f"mount --bind {self._quoted(self._scratch)} /tmp")
        lines.append(f"export PATH={shlex.quote(tools.path)} LC_ALL=C.UTF-8")
        if tools.datastore == "postgresql":
            # Its databases have a locale; it is in the tree.
            lines.append(f"export LOCPATH={tools.tree / 'usr/lib/locale'}")
        lines.append('exec "$@"')
        private = ["unshare", "--mount", "--propagation=private", "--"]
        return [*private, "sh", "-c", "\n".join(lines), "sh", *argv]

    @staticmethod
    def _quoted(path: Path) -> str:
        return shlex.quote(str(path))
