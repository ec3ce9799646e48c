"""Our backups for upstream's program, and upstream's for us.

MariaDB, whose tool both sides can run here. Data is compared by the server's own
checksums of whole tables.
"""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from backups.steps import Owner, Record, names_of, restored
from lab.lab import Lab
from lab.local_server import LocalServer
from lab.upstream_backup import Backup, UpstreamBackup
from scenarios.conftest import DATABASE, PASSWORD, USER

TABLES = ("told", "filler")
KEY = "legacy key of 2019"
# As the guest agents before Victoria did it.
ENCRYPT = ["openssl", "enc", "-aes-256-cbc", "-md", "sha512", "-pbkdf2"]
ENCRYPT += ["-iter", "10000", "-salt"]


@pytest.fixture(scope="module")
def upstream(lab: Lab) -> UpstreamBackup:
    return lab.upstream_backup()


@contextmanager
def local_server(lab: Lab, directory: Path) -> Iterator[LocalServer]:
    """A server that is stopped afterwards; it is not started here."""
    server = LocalServer(lab, lab.backup_tools(), directory)
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def source(lab: Lab) -> Iterator[LocalServer]:
    """A server for upstream's program, with what an instance would have."""
    directory = lab.state / "work" / f"source-{uuid.uuid4().hex[:8]}"
    with local_server(lab, directory) as server:
        server.create()
        server.sql(
            f"create database {DATABASE}; use {DATABASE};"
            "create table told (text varchar(80) primary key) engine=innodb;"
            "insert into told values ('created');"
            "create table filler (id int primary key, bytes blob) engine=innodb;"
            "insert into filler select seq, random_bytes(1024) from seq_1_to_4096;"
            f"create user {USER}@'%' identified by '{PASSWORD}';"
            f"grant all on {DATABASE}.* to {USER}@'%'"
        )
        yield server


def sums(server: LocalServer) -> list[list[str]]:
    """The checksums of the tables that both kinds of source have."""
    return server.sql(
        "checksum table " + ", ".join(f"{DATABASE}.{table}" for table in TABLES)
    )


def tell(server: LocalServer, text: str) -> None:
    server.sql(f"insert into {DATABASE}.told values ('{text}')")


def read_by_upstream(
    lab: Lab, upstream: UpstreamBackup, backup: Backup, directory: Path
) -> list[list[str]]:
    """Restore with upstream's program; the checksums of what came out."""
    upstream.restore("mariadb", backup, directory)
    with local_server(lab, directory) as server:
        server.start(without_accounts=True)
        return sums(server)


@pytest.fixture
def directory(lab: Lab) -> Path:
    """A place for a datadir; on the disk that holds the lab."""
    return lab.state / "work" / f"target-{uuid.uuid4().hex[:8]}"


def known(instance: Owner, backup: Backup) -> str:
    """What Trove would have recorded for an agent of upstream; the backup's id."""
    return instance.recorded(backup.location, backup.checksum)


def test_upstream_reads_upstream(
    lab: Lab, upstream: UpstreamBackup, source: LocalServer, directory: Path
) -> None:
    """The program, the store and the servers here work without our agent."""
    full = upstream.backup("mariadb", source.directory, str(uuid.uuid4()))
    tell(source, "upstream, increment for upstream")
    increment = upstream.backup(
        "mariadb", source.directory, str(uuid.uuid4()), full, segment_size=1 << 16
    )
    before = sums(source)
    assert read_by_upstream(lab, upstream, increment, directory) == before


@pytest.mark.parametrize("megabytes", [0, 40], ids=["one piece", "segments"])
def test_upstream_reads_ours(
    lab: Lab,
    upstream: UpstreamBackup,
    instance: Owner,
    container: str,
    directory: Path,
    megabytes: int,
) -> None:
    """A full backup and an increment, with one segment and with several."""
    instance.fill(max(1, megabytes))
    full = instance.back_up(container)
    large = "x-static-large-object" in instance.objects.head(container, full.object)
    assert large == (megabytes > 0)
    after_full = instance.checksums(*TABLES)
    restored_full = read_by_upstream(lab, upstream, of(full), directory / "full")
    assert restored_full == after_full

    instance.write(f"increment for upstream, {megabytes}")
    increment = instance.back_up(container, parent=full.id)
    after_increment = instance.checksums(*TABLES)
    restored_chain = read_by_upstream(lab, upstream, of(increment), directory / "chain")
    assert restored_chain == after_increment != after_full


def of(made: Record) -> Backup:
    """A backup of ours as upstream's agent would name it to the program."""
    return Backup(location=made.location, checksum=made.checksum)


def test_ours_reads_upstream(
    lab: Lab, upstream: UpstreamBackup, source: LocalServer, instance: Owner
) -> None:
    """A full backup in one piece, handed over as that of another Trove."""
    full = upstream.backup("mariadb", source.directory, str(uuid.uuid4()))
    backup_id = instance.backups.adopt("from elsewhere", full.location, "mariadb")
    with restored(lab, "mariadb", backup_id) as copy:
        assert copy.checksums(*TABLES) == sums(source)
        assert copy.login(USER, PASSWORD).execute("select 1") == [["1"]]


def test_ours_reads_a_chain_of_upstream(
    lab: Lab, upstream: UpstreamBackup, source: LocalServer, instance: Owner
) -> None:
    """A full backup and two increments, one of them in many segments."""
    chain = [upstream.backup("mariadb", source.directory, str(uuid.uuid4()))]
    for size in (None, 1 << 17):
        tell(source, f"upstream, increment in segments of {size}")
        made = upstream.backup(
            "mariadb", source.directory, str(uuid.uuid4()), chain[-1], size
        )
        chain.append(made)
    with restored(lab, "mariadb", known(instance, chain[-1])) as copy:
        assert copy.checksums(*TABLES) == sums(source)


def test_ours_reads_segments_of_upstream(
    lab: Lab, upstream: UpstreamBackup, source: LocalServer, instance: Owner
) -> None:
    """A large object whose last segment may be empty, which upstream makes."""
    full = upstream.backup(
        "mariadb", source.directory, str(uuid.uuid4()), segment_size=1 << 20
    )
    container, name = full.location.split("/")[-2:]
    assert len(instance.objects.manifest(container, name)) > 3
    with restored(lab, "mariadb", known(instance, full)) as copy:
        assert copy.checksums(*TABLES) == sums(source)


def encrypted(lab: Lab, backup: Backup, key: str) -> Backup:
    """The same backup as an agent before Victoria would have left it."""
    container, name = backup.location.split("/")[-2:]
    objects = lab.objects()
    headers = {
        header: value
        for header, value in objects.head(container, name).items()
        if header.startswith("x-object-meta-")
    }
    sealed = subprocess.run(
        [*ENCRYPT, "-pass", f"pass:{key}"],
        input=objects.get(container, name),
        stdout=subprocess.PIPE,
        check=True,
    ).stdout
    checksum = objects.put(container, f"{name}.enc", sealed, headers)
    return Backup(f"{backup.location}.enc", checksum)


@contextmanager
def guests_with_key(lab: Lab, key: str) -> Iterator[None]:
    """The next guests get this key for old backups."""
    before = lab.guest_conf.read_text()
    line = f"[DEFAULT]\nbackup_aes_cbc_key = {key}\n"
    lab.guest_conf.write_text(before.replace("[DEFAULT]\n", line, 1))
    try:
        yield
    finally:
        lab.guest_conf.write_text(before)


def test_ours_reads_an_encrypted_backup(
    lab: Lab, upstream: UpstreamBackup, source: LocalServer, instance: Owner
) -> None:
    """What agents before Victoria stored, which upstream's cannot read any more."""
    full = upstream.backup("mariadb", source.directory, str(uuid.uuid4()))
    backup_id = known(instance, encrypted(lab, full, KEY))
    with guests_with_key(lab, KEY), restored(lab, "mariadb", backup_id) as copy:
        assert copy.checksums(*TABLES) == sums(source)


def test_segments_are_named_as_upstream_names_them(
    instance: Owner, container: str
) -> None:
    """Trove deletes a large object by its manifest; people find parts by name."""
    instance.fill(40)
    full = instance.back_up(container)
    segments = sorted(names_of(instance.objects, full) - {full.object})
    assert segments == [f"{full.id}_{n:08d}" for n in range(len(segments))]
    assert len(segments) > 1
