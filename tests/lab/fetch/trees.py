"""Guest trees: one Debian root directory per datastore, never booted itself."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

from lab import settings
from lab.cache import Cache
from lab.fetch.run import BuildError, run
from lab.progress import Progress, Step
from lab.settings import Datastore

# Part of the key: raise it when prepare() below changes.
RECIPE = 3
# The same for what only trees with PostgreSQL get.
POSTGRESQL_RECIPE = 1

# Devices get the modes of the machine's own nodes, which may be unusable.
DEVICE_MODES = "".join(
    f"z /dev/{node} 0666\n"
    for node in ("null", "zero", "full", "random", "urandom", "tty")
)
# postgresql-common(7): its packages neither make nor start a cluster.
NO_CLUSTER = "create_main_cluster = false\n"
CLUSTER_OPTIONS = "etc/postgresql-common/createcluster.d/lab.conf"
LOCALE = "en_US.utf8"
# Not allowed without CAP_SYS_RESOURCE, which a sandbox may withhold.
NO_OOM_ADJUST = "[Service]\nOOMScoreAdjust=0\n"
# An overlay is not remounted, the machine's clock is not ours, no housekeeping.
MASKED = (
    "systemd-remount-fs.service",
    "systemd-timesyncd.service",
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "xfs_scrub_all.timer",
    "xfs_healer_start.service",
    "getty@tty1.service",
    "console-getty.service",
)


@dataclass(frozen=True)
class Tree:
    """A finished guest tree."""

    datastore: str
    path: Path
    server_version: str  # what the server says of itself, such as 10.11.19

    @property
    def series(self) -> str:
        """The series that versions.env names it by, such as 10.11."""
        known = [d.series for d in settings.versions().all if d.name == self.datastore]
        return next(s for s in known if self.server_version.startswith(f"{s}."))


def _key(datastore: Datastore) -> str:
    guest = settings.versions().guest_packages
    more = (POSTGRESQL_RECIPE, NO_CLUSTER) if datastore.name == "postgresql" else ()
    return settings.digest(RECIPE, datastore, guest, DEVICE_MODES, MASKED, *more)


def find(cache: Cache, datastore: Datastore) -> Tree | None:
    """The tree if it is in the cache."""
    path = cache.path(f"tree-{datastore.name}", _key(datastore))
    return _load(path) if path.exists() else None


def _load(path: Path) -> Tree:
    facts = json.loads((path / "tree.json").read_text())
    return Tree(facts["datastore"], path / "root", facts["server_version"])


def ensure(cache: Cache, datastore: Datastore, progress: Progress) -> Tree:
    """Install Debian and the datastore's packages into a directory."""

    def build(temporary: Path, _final: Path) -> None:
        label = f"Guest tree {datastore.name} {datastore.series} ({datastore.suite})"
        with progress.step(label) as step:
            root = temporary / "root"
            root.mkdir()
            bootstrap(datastore, root, step)
            prepare(root)
            if datastore.name == "postgresql":
                prepare_postgresql(root)
            version = server_version(root, datastore)
            tree = {**asdict(Tree(datastore.name, root, version)), "path": None}
            (temporary / "tree.json").write_text(json.dumps(tree))

    name = f"tree-{datastore.name}"
    return _load(cache.ensure(name, _key(datastore), build))


def mirrors() -> tuple[str, str | None]:
    """The Debian mirror this machine already uses, and the one for security."""
    output = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(SITE) $(ORIGIN)"],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    sites = [
        line.split()[0]
        for line in sorted(set(output.splitlines()))
        if line.endswith(" Debian")
    ]
    security = [site for site in sites if "security" in site]
    general = [site for site in sites if site not in security]
    if not general:
        raise BuildError("no Debian mirror in this machine's apt sources")
    return general[0], security[0] if security else None


def sources(suite: str) -> list[str]:
    """apt sources for `suite` from these mirrors."""
    general, security = mirrors()
    lines = [f"deb {general} {suite} main"]
    if suite != "sid":
        lines.append(f"deb {general} {suite}-updates main")
        if security:
            lines.append(f"deb {security} {suite}-security main")
    return lines


def bootstrap(datastore: Datastore, root: Path, step: Step) -> None:
    """Run mmdebstrap; apt resolves and verifies, dpkg configures."""
    packages = settings.versions().guest_packages + datastore.packages
    run(
        [
            "mmdebstrap",
            "--mode=root",
            "--variant=minbase",
            "--include=" + ",".join(packages),
            '--aptopt=APT::Install-Recommends "false"',
            # A mirror may be a frozen snapshot; signatures are still checked.
            '--aptopt=Acquire::Check-Valid-Until "false"',
            # A tree that was not completed is thrown away: no need to sync.
            "--dpkgopt=force-unsafe-io",
            "--dpkgopt=path-exclude=/usr/share/man/*",
            "--dpkgopt=path-exclude=/usr/share/doc/*",
            *before_packages(datastore),
            datastore.suite,
            str(root),
            *sources(datastore.suite),
        ],
        step,
    )


def before_packages(datastore: Datastore) -> list[str]:
    """Options that write files before the datastore's packages are configured."""
    if datastore.name != "postgresql":
        return []
    # mmdebstrap gives the root's directory as $1.
    write = f'printf "{NO_CLUSTER.strip()}\\n" >"$1/{CLUSTER_OPTIONS}"'
    make = f'mkdir -p "$1/{Path(CLUSTER_OPTIONS).parent}"'
    return [f"--essential-hook={make} && {write}"]


def prepare_postgresql(root: Path) -> None:
    """Make the locale that the control plane's configuration names.

    As a directory: programs of the tree that run elsewhere find it by LOCPATH.
    """
    language, charset = LOCALE.split(".")
    argv = ["localedef", "--no-archive", f"--inputfile={language}"]
    run_in(root, *argv, "--charmap=UTF-8", f"/usr/lib/locale/{language}.{charset}")


def prepare(root: Path) -> None:
    """Make the tree what an image with our agent would be before its agent.

    The account that cloud-init's files belong to exists, the one the database
    runs as does not; the distribution's database neither runs nor has data.
    """
    run_in(
        root, "useradd", "--uid=1000", "--create-home", "--shell=/bin/bash", "ubuntu"
    )
    for kind in settings.DATASTORES:
        for unit in (root / "etc/systemd/system").glob(f"*/{kind}*"):
            unit.unlink()
    for data in ("mysql", "postgresql"):
        subprocess.run(["rm", "-rf", str(root / "var/lib" / data)], check=True)
    for directory in ("etc/trove/conf.d", "etc/trove/certs", "var/log/trove"):
        (root / directory).mkdir(parents=True, exist_ok=True)
    (root / "etc/resolv.conf").unlink(missing_ok=True)
    (root / "var/log/journal").mkdir(exist_ok=True)
    for_container(root)


def for_container(root: Path) -> None:
    """Let a root directory boot under systemd-nspawn, here."""
    # A first boot would enable every unit by preset; a guest gets its id later.
    (root / "etc/machine-id").write_text("uninitialized\n")
    system = root / "etc/systemd/system"
    for name in MASKED:
        (system / name).unlink(missing_ok=True)
        (system / name).symlink_to("/dev/null")
    for name in ("dbus", "systemd-journald", "systemd-udevd", "systemd-logind"):
        drop_in = system / f"{name}.service.d/90-lab.conf"
        drop_in.parent.mkdir(exist_ok=True)
        drop_in.write_text(NO_OOM_ADJUST)
    (root / "etc/tmpfiles.d/00-lab-devices.conf").write_text(DEVICE_MODES)


def run_in(root: Path, *argv: str) -> str:
    """Run a program of the tree inside it; its output."""
    done = subprocess.run(
        ["chroot", str(root), *argv],
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"},
    )
    return done.stdout


def server_version(root: Path, datastore: Datastore) -> str:
    """Ask the installed server; it must be of the series versions.env names."""
    version = ask_version(root, datastore.name)
    if not version.startswith(datastore.series + "."):
        raise BuildError(
            f"{datastore.suite} has {version}, but versions.env names "
            f"{datastore.name} {datastore.series}"
        )
    return version


def ask_version(root: Path, datastore: str) -> str:
    """The version of the one server that is installed in `root`."""
    pattern = {
        "mysql": "usr/sbin/mysqld",
        "mariadb": "usr/sbin/mariadbd",
        "postgresql": "usr/lib/postgresql/*/bin/postgres",
    }[datastore]
    (program,) = root.glob(pattern)
    words = run_in(root, f"/{program.relative_to(root)}", "--version")
    found = re.search(r"(?:Ver|PostgreSQL\)) (\d+(?:\.\d+)+)", words)
    if not found:
        raise BuildError(f"{program} calls itself {words.strip()!r}")
    return found[1]
