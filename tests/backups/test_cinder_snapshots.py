"""Backups that are snapshots of volumes, made by Cinder between two calls.

The control plane is told to keep backups there (`storage_strategy`). A user
writes all the time.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from backups.steps import Owner, Record, created, record, restored
from lab.clients.sql import SqlError
from lab.clients.volumes import VolumeClient
from lab.lab import Lab
from lab.settings import DATASTORES
from lab.waiting import eventually
from scenarios.conftest import DATABASE, PASSWORD, USER

STILL = "Server and file system hold still for a snapshot."
ON = "Server and file system go on."


@pytest.fixture(scope="module")
def volumes(lab: Lab) -> Iterator[VolumeClient]:
    """Cinder, where Trove keeps backups for these tests."""
    lab.restart_trove(storage="cinder")
    yield VolumeClient()
    lab.restart_trove()


@pytest.fixture(scope="module", params=DATASTORES)
def instance(
    lab: Lab, volumes: VolumeClient, request: pytest.FixtureRequest
) -> Iterator[Owner]:
    with created(lab, request.param, megabytes=8) as owner:
        yield owner


@dataclass
class Writer:
    """A user who writes one row after the other until told to stop."""

    owner: Owner
    # Rows whose success the user knows of.
    known: int = 0
    failures: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        client = self.owner.login(USER, PASSWORD, DATABASE)
        while not self._stop.is_set():
            try:
                client.execute(f"insert into ticks values ({self.known + 1})")
                self.known += 1
            except SqlError as error:
                self.failures.append(str(error))
                return

    def wait_for_more(self) -> None:
        before = self.known
        eventually(lambda: self.known > before + 2, 30)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """A user who writes inside of the block, from its begin to its end."""
        self.owner.login(USER, PASSWORD, DATABASE).execute(
            "drop table if exists ticks; create table ticks (i int primary key)"
        )
        thread = threading.Thread(target=self.run)
        thread.start()
        try:
            self.wait_for_more()
            yield
            self.wait_for_more()
        finally:
            self._stop.set()
            thread.join()
        assert self.failures == []


@dataclass
class Taken:
    """A snapshot, and how many rows the writer knew of before and after it."""

    made: Record
    before: int
    after: int


@pytest.fixture(scope="module")
def taken(instance: Owner) -> Taken:
    """A backup made while the user writes, and how it went on in the guest."""
    writer = Writer(instance)
    with writer.writing():
        before = writer.known
        backup_id = instance.backups.create("snapshot", instance.id)
        instance.backups.wait(backup_id)
        after = writer.known
        check_goes_on(instance, writer)
    return Taken(record(instance.lab, backup_id), before, after)


def said(instance: Owner, line: str) -> int:
    """How often the agent has said that."""
    return sum(message.startswith(line) for message in instance.guest.messages())


def check_goes_on(instance: Owner, writer: Writer) -> None:
    """Server and file system were held, and are not any more."""
    assert said(instance, STILL) == said(instance, ON) > 0
    writer.wait_for_more()
    # As long as the file system is frozen, this waits.
    guest = instance.guest
    path = f"{instance.product.mount_point}/thawed"
    guest.run(["sh", "-c", f"echo > {path}"], timeout=10)
    guest.run(["rm", path], timeout=10)
    assert guest.sh("ls /var/lib/trove-guestagent").split().count("frozen") == 0


def test_snapshot_is_recorded(
    instance: Owner, taken: Taken, volumes: VolumeClient
) -> None:
    """In Trove as a backup, in Cinder as a snapshot, in no object store."""
    made = taken.made
    assert made.state == "COMPLETED"
    assert made.location == f"cinder://{made.object}"
    snapshot = volumes.snapshots()[made.object]
    assert snapshot["status"] == "available"
    assert snapshot["metadata"]["backup_id"] == made.id
    shown = instance.backups.show(made.id)
    assert shown["locationRef"] == made.location
    assert shown["size"] == snapshot["size"] == instance.size


@pytest.fixture(scope="module")
def copy(instance: Owner, taken: Taken) -> Iterator[Owner]:
    """A new instance on a volume made of the snapshot."""
    with restored(instance.lab, instance.datastore, taken.made.id) as copy:
        yield copy


def test_copy_has_the_data_of_one_moment(
    instance: Owner, copy: Owner, taken: Taken
) -> None:
    """All that was known before, nothing that came after, and no hole."""
    client = copy.login(USER, PASSWORD, DATABASE)
    ((count, last),) = client.execute("select count(*), max(i) from ticks")
    assert count == last
    # One insert may be on its way when it is looked.
    assert taken.before <= int(count) <= taken.after + 1
    assert copy.told() == {"created"}
    assert copy.checksums("filler") == instance.checksums("filler")


def test_copy_is_a_server_of_its_own(instance: Owner, copy: Owner) -> None:
    """The user's accounts, but another administrator and another identity."""
    if copy.datastore != "postgresql":  # whose administrator has no password
        path = "/var/lib/mysql/conf.d/os_admin.cnf"
        assert copy.guest.read_file(path) != instance.guest.read_file(path)
    if copy.datastore == "mysql":
        uuids = [one.admin("select @@server_uuid") for one in (copy, instance)]
        assert uuids[0] != uuids[1]
    assert {user["name"] for user in copy.trove.users(copy.id)} == {USER}
    copy.trove.create_databases(copy.id, {"name": "made_in_copy"})
    eventually(lambda: "made_in_copy" in copy.databases())
    assert "made_in_copy" not in instance.databases()
    copy.trove.restart(copy.id)
    copy.trove.wait_active(copy.id)
    assert copy.told() == {"created"}
    marks = copy.guest.sh(f"find {copy.product.mount_point} -maxdepth 1 -name '.[a-z]*'")
    assert marks == ""


@pytest.fixture
def exhausted(volumes: VolumeClient) -> Iterator[None]:
    """Cinder takes no snapshot more."""
    before = volumes.limit_snapshots(0)
    yield
    volumes.limit_snapshots(before)


def test_snapshot_that_cinder_refuses(
    instance: Owner, volumes: VolumeClient, exhausted: None
) -> None:
    """The backup fails, and the instance goes on at once."""
    before = volumes.snapshots()
    writer = Writer(instance)
    with writer.writing():
        held = said(instance, STILL)
        backup_id = instance.backups.create("refused", instance.id)
        ended = instance.backups.wait_end(backup_id, timeout=60)
        assert ended["status"] == "FAILED", ended
        assert said(instance, STILL) == held + 1
        check_goes_on(instance, writer)
    assert volumes.snapshots() == before
    instance.backups.delete(backup_id)
    instance.backups.wait_deleted(backup_id)


@contextmanager
def freeze_refused(instance: Owner) -> Iterator[None]:
    """An image without the program that freezes file systems."""
    guest = instance.guest
    program = guest.sh("command -v fsfreeze").strip()
    guest.run(["mount", "--bind", "/usr/bin/false", program])
    try:
        yield
    finally:
        guest.run(["umount", program])


def test_server_that_cannot_be_held(instance: Owner, volumes: VolumeClient) -> None:
    """The first call fails, no second one follows: nothing stays locked."""
    before = volumes.snapshots()
    writer = Writer(instance)
    with freeze_refused(instance), writer.writing():
        backup_id = instance.backups.create("not held", instance.id)
        ended = instance.backups.wait_end(backup_id, timeout=60)
        assert ended["status"] == "FAILED", ended
        check_goes_on(instance, writer)
    assert volumes.snapshots() == before


def test_delete(instance: Owner, taken: Taken, volumes: VolumeClient) -> None:
    """Trove deletes the snapshot with the backup."""
    instance.backups.delete(taken.made.id)
    instance.backups.wait_deleted(taken.made.id)
    eventually(lambda: taken.made.object not in volumes.snapshots())
