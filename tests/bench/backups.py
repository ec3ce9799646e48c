"""Backups beside upstream's program: same server, same store, taking turns.

Both sides run in the same private view of this machine (lab/local_server.py), as
plain commands; what they start is part of what they take.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import monotonic

from lab import network, settings
from lab.clients.openstack import environment
from lab.lab import Lab
from lab.local_server import ADMIN, PASSWORD
from lab.progress import Progress
from lab.room import Room, Tools
from lab.upstream_backup import DIRECTORIES, Backup, UpstreamBackup

from bench import data, watched
from bench.data import Data, Server
from bench.report import MEGABYTE, Bar, Row
from bench.watched import Used

CONTAINER = "bench"
CONFIG = "/etc/trove/conf.d"
GUEST_INFO = """\
[DEFAULT]
guest_id = {guest}
datastore_manager = {datastore}
datastore_version = {series}
"""
GUEST_CONF = """\
[DEFAULT]
transport_url = rabbit://nobody:nothing@127.0.0.1:1/
[guest_agent]
backup_compression = {compression}
"""
OPTION_FILE = """\
[client]
user = {user}
password = {password}
"""
SOURCES: dict[str, type[Data]] = {
    kind.datastore: kind for kind in (data.MariaDb, data.PostgreSql)
}
# Raw uploads: as many streams at once, each of as many bytes.
STREAMS, STREAM_BYTES = 4, 256 << 20
# Rows of each table, for about 1, 3 and 8 GB.
GROWING = (49_152, 131_072, 393_216)
BLOCK = 1 << 20


def unit_environment() -> list[str]:
    """What the agent's unit sets for it, as NAME=VALUE."""
    unit = (settings.REPO / "systemd/trove-guestagent.service").read_text()
    lines = [line for line in unit.splitlines() if line.startswith("Environment=")]
    return [word for line in lines for word in line.removeprefix("Environment=").split()]


@dataclass(frozen=True)
class Run:
    """One backup and the restore of it."""

    backup: Used
    restore: Used
    stored: int


class Ours:
    """`trove-guestagent backup`, with one of its compressions."""

    def __init__(
        self, lab: Lab, tools: Tools, binary: Path, compression: str, cpus: int = 0
    ) -> None:
        """With `cpus` it gets only so many of the machine's."""
        self._prefix = ["taskset", "--cpu-list", f"0-{cpus - 1}"] if cpus else []
        self._lab = lab
        self._tools = tools
        # The checkout may be where the room has a /tmp of its own.
        self._binary = lab.state / "work" / "trove-guestagent"
        shutil.copy2(binary, self._binary)
        self._scratch = lab.state / "ours"
        self._compression = compression
        self.side = f"ours, {compression}" + (f", {cpus} CPUs" if cpus else "")
        self.programs = ("trove-guestagen",)  # as the kernel cuts it

    @property
    def scratch(self) -> Path:
        return self._scratch

    def _command(self, directory: Path, arguments: list[str]) -> list[str]:
        """The one place that knows our command line."""
        tools = self._tools
        guest = GUEST_INFO.format(
            guest=uuid.UUID(int=1), datastore=tools.datastore, series=tools.series
        )
        files = {
            f"{CONFIG}/guest_info.conf": guest,
            f"{CONFIG}/trove-guestagent.conf": GUEST_CONF.format(
                compression=self._compression
            ),
        }
        if tools.datastore == "mariadb":
            login = OPTION_FILE.format(user=ADMIN, password=PASSWORD)
            files["/var/lib/mysql/conf.d/os_admin.cnf"] = login
        else:  # a guest that is restored into has been configured before
            files["/etc/postgresql/postgresql.conf"] = "port = 5432\n"
        account = [f"{name}={value}" for name, value in environment("demo").items()]
        program = ["env", *unit_environment(), *account, *self._prefix, str(self._binary), f"--config-dir={CONFIG}"]
        room = Room(directory, self._scratch, tools)
        argv = room.command([*program, "backup", *arguments], files)
        return network.entering(self._lab.name, argv)

    def backup(self, server: Path) -> list[str]:
        name = ["--id", str(uuid.uuid4()), "--container", CONTAINER]
        return self._command(server, ["create", "--store", "swift", *name])

    def restore(self, backup: Backup, target: Path) -> list[str]:
        (target / "data").mkdir(parents=True)
        what = ["--location", backup.location, "--checksum", backup.checksum]
        return self._command(target, ["restore", "--store", "swift", *what])

    @staticmethod
    def verdict(output: str) -> Backup:
        """The JSON object it prints, among what it logs."""
        printed = [line for line in output.splitlines() if line.startswith("{")]
        told = json.loads(printed[-1])
        return Backup(location=told["location"], checksum=told["checksum"])

    @staticmethod
    def check_restored(_output: str) -> None:
        """Its exit status has told."""


class Upstream:
    """Upstream's program."""

    side = "upstream"
    # PostgreSQL's tool compresses by itself.
    programs = ("python", "gzip")

    def __init__(self, lab: Lab, program: UpstreamBackup) -> None:
        self._lab = lab
        self._program = program

    @property
    def scratch(self) -> Path:
        return self._program.scratch

    def backup(self, server: Path) -> list[str]:
        datastore = self._program.tools.datastore
        return self._program.backup_command(datastore, server, str(uuid.uuid4()))

    def restore(self, backup: Backup, target: Path) -> list[str]:
        datastore = self._program.tools.datastore
        for directory in DIRECTORIES[datastore]:
            (target / directory).mkdir(parents=True)
        return self._program.restore_command(datastore, backup, target)

    @staticmethod
    def verdict(output: str) -> Backup:
        return UpstreamBackup.verdict(output)

    @staticmethod
    def check_restored(output: str) -> None:
        """Its exit status is 0 whatever happens."""
        if "Restore successfully" not in output:
            raise RuntimeError(f"upstream's restore: {output[-3000:]}")


Side = Ours | Upstream


class Comparison:
    """One server, all sides."""

    def __init__(self, source: Data, server: Server, sides: list[Side]) -> None:
        self._lab = source.lab
        self._data = source
        self._server = server
        self._sides = sides
        self._sums = source.sums(server)
        self.runs: dict[str, list[Run]] = {side.side: [] for side in sides}

    def measure(self, number: int, say: Callable[[str], None]) -> None:
        """One run of every side; the order changes with every run."""
        for side in self._sides[:: 1 if number % 2 else -1]:
            run = self._run(side, check=number == 0)
            self.runs[side.side].append(run)
            say(
                f"{side.side}, run {number + 1}: backup {run.backup.wall:.1f} s, "
                f"{run.backup.cpu:.1f} s CPU, {run.stored / 1e6:.0f} MB; "
                f"restore {run.restore.wall:.1f} s"
            )

    def _run(self, side: Side, check: bool) -> Run:
        side.scratch.mkdir(parents=True, exist_ok=True)
        backup = self._watch(side, side.backup(self._server.directory))
        made = side.verdict(backup.output)
        name = made.location.split("/")[-1]
        with self._lab.inside():
            stored = int(self._lab.objects().head(CONTAINER, name)["content-length"])
        target = self._lab.state / "work" / "bench-target"
        restore = self._watch(side, side.restore(made, target))
        side.check_restored(restore.output)
        if check:
            self._check(target)
        shutil.rmtree(target)
        with self._lab.inside():
            self._lab.objects().clear(CONTAINER)
        return Run(backup, restore, stored)

    def _watch(self, side: Side, argv: list[str]) -> Used:
        return watched.run(argv, (self._lab.name, "bench"), side.scratch)

    def _check(self, target: Path) -> None:
        """A restore that loses data is not fast but wrong."""
        server = self._data.server(target)
        try:
            self._data.start_restored(server)
            if self._data.sums(server) != self._sums:
                raise RuntimeError("restored data differs")
        finally:
            server.stop()


STREAMS_ALONE = {
    "mariadb": "mariadb-backup --defaults-file=/etc/mysql/my.cnf --backup "
    f"--stream=xbstream --user={ADMIN} --password={PASSWORD}",
    "postgresql": "pg_basebackup --username=postgres --format=tar --wal-method=fetch "
    "--checkpoint=fast --pgdata=-",
}


def limits(source: Data, server: Server) -> str:
    """What tool, upstream's compressor and store take alone."""
    lab, scratch = source.lab, source.lab.state / "ours"
    scratch.mkdir(parents=True, exist_ok=True)
    room = Room(server.directory, scratch, source.tools)
    stream = STREAMS_ALONE[source.datastore]

    def alone(script: str) -> float:
        argv = room.command(["sh", "-c", script])
        return watched.run(argv, (lab.name, "bench"), scratch).wall

    alone(f"{stream} 2>/dev/null >/dev/null")  # fills the page cache
    tool = alone(f"{stream} 2>/dev/null >/dev/null")
    packed = alone(f"{stream} 2>/dev/null | gzip >/dev/null")
    with lab.inside():
        rate = _upload_rate(lab)
    return (
        f"Alone: the tool's stream to nowhere {tool:.1f} s; through gzip {packed:.1f} s; "
        f"{STREAMS} uploads at once {rate / 1e6:.0f} MB/s."
    )


def _upload_rate(lab: Lab) -> float:
    """Bytes a second that the store takes from several streams."""
    block = os.urandom(BLOCK)
    objects = lab.objects()
    objects.create_container(CONTAINER)

    def body() -> Iterator[bytes]:
        for _ in range(STREAM_BYTES // BLOCK):
            yield block

    def upload(number: int) -> None:
        with lab.inside():
            lab.objects().put(CONTAINER, f"raw_{number}", body())

    begun = monotonic()
    with ThreadPoolExecutor(STREAMS) as pool:
        list(pool.map(upload, range(STREAMS)))
    taken = monotonic() - begun
    objects.clear(CONTAINER)
    return STREAMS * STREAM_BYTES / taken


@contextmanager
def serving(source: Data, rows: int, progress: Progress) -> Iterator[tuple[Server, float]]:
    """A server with data, and how many gigabytes it has on disk."""
    lab = source.lab
    made = data.made(source, rows, progress)
    size = sum(f.stat().st_size for f in made.rglob("*") if f.is_file())
    (lab.state / "work").mkdir(exist_ok=True)
    server = data.served(source, made, lab.state / "work" / f"bench-{source.datastore}")
    try:
        yield server, size / 1e9
    finally:
        server.stop()
        shutil.rmtree(server.directory)


def compare(
    lab: Lab, datastore: str, binary: Path, runs: int, rows: int, progress: Progress
) -> tuple[list[Row], list[str]]:
    """Rows and notes; the lab has its object store."""
    what = SOURCES[datastore](lab)
    with serving(what, rows, progress) as (server, size):
        with lab.inside():
            program = lab.upstream_backup(container=CONTAINER, tools=what.tools)
        sides: list[Side] = [Upstream(lab, program)]
        sides += [Ours(lab, what.tools, binary, each) for each in ("gzip", "zstd")]
        told = limits(what, server)
        comparison = Comparison(what, server, sides)
        for number in range(runs):
            comparison.measure(number, progress.say)
    notes = [
        f"Backups: medians of {runs} runs of {datastore} with {size:.1f} GB on disk, "
        f"to Swift on the same {os.cpu_count()} CPUs. {told}"
    ]
    return _rows(datastore, comparison.runs, sides), notes


def growth(
    lab: Lab, datastore: str, binary: Path, runs: int, progress: Progress
) -> list[str]:
    """How our backups grow with data and CPUs; the store always has all CPUs."""
    what = SOURCES[datastore](lab)
    notes = [f"Growth of backups of {datastore}, zstd, medians of {runs}:"]
    with lab.inside():
        lab.objects().create_container(CONTAINER)
    for rows in GROWING:
        with serving(what, rows, progress) as (server, size):
            sides: list[Side] = [
                Ours(lab, what.tools, binary, "zstd", cpus)
                for cpus in range(1, (os.cpu_count() or 1) + 1)
            ]
            comparison = Comparison(what, server, sides)
            for number in range(runs):
                comparison.measure(number, progress.say)
        for side in sides:
            done = comparison.runs[side.side]
            backup = median(run.backup.wall for run in done)
            restore = median(run.restore.wall for run in done)
            memory = median(run.backup.rss_of(*side.programs) for run in done)
            notes.append(
                f"  {size:.1f} GB, {side.side}: backup {backup:.1f} s "
                f"({size * 1e3 / backup:.0f} MB/s, {memory / MEGABYTE:.0f} MB RSS), "
                f"restore {restore:.1f} s ({size * 1e3 / restore:.0f} MB/s)"
            )
    return notes


def _rows(datastore: str, runs: dict[str, list[Run]], sides: list[Side]) -> list[Row]:
    upstream = sides[0]

    def value(side: Side, quantity: Callable[[Run], float]) -> float:
        return median(quantity(run) for run in runs[side.side])

    def row(
        name: str, side: Side, unit: str, quantity: Callable[[Run], float], bar: Bar | None
    ) -> Row:
        return Row(name, value(side, quantity), value(upstream, quantity), unit, bar)

    found = []
    # PostgreSQL's own tool, which both use, is slower than MariaDB's.
    shares = (4, 8) if datastore == "mariadb" else (4, 4)
    for side, share in zip(sides[1:], shares):
        label = side.side.removeprefix("ours, ")
        if datastore != "mariadb":
            label = f"{datastore}, {label}"
        bar = Bar(ratio=1 / share)
        found += [
            row(f"backup, {label}", side, "s", lambda r: r.backup.wall, bar),
            row(f"backup, {label}, CPU", side, "s", lambda r: r.backup.cpu, None),
            row(
                f"backup, {label}, stored",
                side,
                "MB",
                lambda r: r.stored / MEGABYTE,
                Bar(ratio=1) if label.endswith("zstd") else None,
            ),
            row(
                f"restore, {label}", side, "s", lambda r: r.restore.wall, Bar(ratio=1 / 3)
            ),
            row(
                f"backup, {label}, temporary files",
                side,
                "MB",
                lambda r: r.backup.disk / MEGABYTE,
                # The tool itself writes a few lines.
                Bar(value=1),
            ),
        ]
        own, theirs = side.programs, upstream.programs
        memory = median(r.backup.rss_of(*own) for r in runs[side.side])
        other = median(r.backup.rss_of(*theirs) for r in runs[upstream.side])
        name = f"backup, {label}, RSS without the tool"
        found.append(
            Row(name, memory / MEGABYTE, other / MEGABYTE, "MB", Bar(value=96))
        )
    return found
