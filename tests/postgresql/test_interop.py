"""Our backups for upstream's program, and upstream's for us.

Data is compared by checksums of whole tables that the servers make.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from backups.steps import Owner, Record, restored
from lab.lab import Lab
from lab.local_postgresql import LocalPostgresql
from lab.products import PRODUCTS
from lab.upstream_backup import Backup, UpstreamBackup
from scenarios.conftest import DATABASE, PASSWORD, USER

PRODUCT = PRODUCTS["postgresql"]
TABLES = ("told", "filler")


@pytest.fixture(scope="module")
def upstream(lab: Lab) -> UpstreamBackup:
    return lab.upstream_backup(tools=lab.backup_tools("postgresql"))


@contextmanager
def local_server(lab: Lab, directory: Path) -> Iterator[LocalPostgresql]:
    """A server that is removed afterwards; it is not started here."""
    server = LocalPostgresql(lab, lab.backup_tools("postgresql"), directory)
    try:
        yield server
    finally:
        server.remove()


@pytest.fixture(scope="module")
def source(lab: Lab) -> Iterator[LocalPostgresql]:
    """A server for upstream's program, with what an instance would have."""
    directory = lab.state / "work" / f"source-{uuid.uuid4().hex[:8]}"
    with local_server(lab, directory) as server:
        server.create()
        server.sql(
            f"create role {USER} login password '{PASSWORD}';"
            f"create database {DATABASE} owner {USER};"
        )
        server.sql(
            f"set role {USER};"
            "create table told (text varchar(80) primary key);"
            "insert into told values ('created');"
            f"create table filler ({PRODUCT.filler});"
            "insert into filler (bytes) values ('the first');"
            "insert into filler (bytes) select sha256(n::text::bytea)"
            " from generate_series(1, 20000) n",
            DATABASE,
        )
        yield server


def sums(server: LocalPostgresql) -> list[list[str]]:
    return [server.sql(PRODUCT.checksum.format(table), DATABASE)[0] for table in TABLES]


def tell(server: LocalPostgresql, text: str) -> None:
    server.sql(f"insert into told values ('{text}')", DATABASE)


def read_by_upstream(
    lab: Lab, upstream: UpstreamBackup, backup: Backup, directory: Path
) -> list[list[str]]:
    """Restore with upstream's program; the checksums of what came out."""
    upstream.restore("postgresql", backup, directory)
    with local_server(lab, directory) as server:
        server.start(recover=True)
        return sums(server)


@pytest.fixture
def directory(lab: Lab) -> Path:
    """A place for a data volume; on the disk that holds the lab."""
    return lab.state / "work" / f"target-{uuid.uuid4().hex[:8]}"


def chain_of_upstream(
    upstream: UpstreamBackup, source: LocalPostgresql, increments: int
) -> list[Backup]:
    """A full backup and increments, with something told before each."""
    chain: list[Backup] = []
    for number in range(increments + 1):
        tell(source, f"{uuid.uuid4()}, number {number}")
        parent = chain[-1] if chain else None
        name = str(uuid.uuid4())
        chain.append(upstream.backup("postgresql", source.directory, name, parent))
    return chain


def of(made: Record) -> Backup:
    """A backup of ours as upstream's agent would name it to the program."""
    return Backup(location=made.location, checksum=made.checksum)


def test_upstream_reads_upstream(
    lab: Lab, upstream: UpstreamBackup, source: LocalPostgresql, directory: Path
) -> None:
    """The program, the store and the servers here work without our agent."""
    chain = chain_of_upstream(upstream, source, increments=1)
    before = sums(source)
    assert read_by_upstream(lab, upstream, chain[-1], directory) == before


def test_upstream_reads_ours(
    lab: Lab, upstream: UpstreamBackup, instance: Owner, container: str, directory: Path
) -> None:
    """A full backup and two increments, the last of them of the first."""
    instance.fill(1)
    full = instance.back_up(container)
    after_full = instance.checksums(*TABLES)
    assert read_by_upstream(lab, upstream, of(full), directory) == after_full
    made = full
    for number in (1, 2):
        instance.write(f"increment {number} for upstream, {uuid.uuid4()}")
        made = instance.back_up(container, parent=made.id)
    after = instance.checksums(*TABLES)
    assert read_by_upstream(lab, upstream, of(made), directory) == after != after_full


def test_ours_reads_upstream(
    lab: Lab, upstream: UpstreamBackup, source: LocalPostgresql, instance: Owner
) -> None:
    """A full backup in one piece, handed over as that of another Trove."""
    (full,) = chain_of_upstream(upstream, source, increments=0)
    backup_id = instance.backups.adopt("elsewhere", full.location, "postgresql")
    with restored(lab, "postgresql", backup_id) as copy:
        assert copy.checksums(*TABLES) == sums(source)
        assert copy.login(USER, PASSWORD, DATABASE).execute("select 1") == [["1"]]


def test_ours_reads_a_chain_of_upstream(
    lab: Lab, upstream: UpstreamBackup, source: LocalPostgresql, instance: Owner
) -> None:
    """A full backup and two increments."""
    last = chain_of_upstream(upstream, source, increments=2)[-1]
    backup_id = instance.recorded(last.location, last.checksum)
    with restored(lab, "postgresql", backup_id) as copy:
        assert copy.checksums(*TABLES) == sums(source)
