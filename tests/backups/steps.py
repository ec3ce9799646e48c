"""What the suites do over and over: instances, rows, backups, restores."""

from __future__ import annotations

import re
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from lab.clients.backups import BackupClient
from lab.clients.objects import ObjectClient
from lab.cloud.keystone import ACCOUNTS, PROJECTS
from lab.lab import Lab
from scenarios.conftest import DATABASE, PASSWORD, USER, Instance, delete

# A backup and what follows it; a restore is a backup and a create.
LIMIT = 240.0
# More MB than are on their way at once, and GiB they fit into: the tool still
# runs while its first bytes are being stored.
LARGE, LARGE_VOLUME = 192, 2
# A project's first two requests at once break Trove's records of its quota.
_REQUESTING = threading.Lock()
# Where parts and whole backups are in the store, as ends of paths.
SEGMENT = r"_\d{8}$"
OBJECT = r"\.xbstream\.gz$"


@dataclass(frozen=True)
class Record:
    """What Trove has recorded of a backup; not all of it is in the API."""

    id: str
    state: str
    kind: str
    checksum: str
    location: str
    size: float

    @property
    def container(self) -> str:
        return self.location.split("/")[-2]

    @property
    def object(self) -> str:
        return self.location.split("/")[-1]


def record(lab: Lab, backup_id: str) -> Record:
    """The row of Trove's database."""
    ((found, state, kind, checksum, location, size),) = lab.trove_sql(
        "select id, state, backup_type, checksum, location, size from backups "
        f"where id = '{backup_id}'"
    )
    return Record(found, state, kind, checksum, location, float(size))


@dataclass
class Owner(Instance):
    """An instance with rows that can be counted and compared."""

    size: int = 1

    @cached_property
    def backups(self) -> BackupClient:
        return BackupClient(self.trove)

    @property
    def objects(self) -> ObjectClient:
        return self.lab.objects()

    def fill(self, megabytes: int) -> None:
        """Add rows that no compressor makes smaller."""
        client = self.login(USER, PASSWORD, DATABASE)
        kib = megabytes * 1024
        client.execute(
            f"create table if not exists filler ({self.product.filler}); "
            "insert into filler (bytes) values ('the first')"
        )
        while (have := int(client.execute("select count(*) from filler")[0][0])) < kib:
            client.execute(
                f"insert into filler (bytes) select {self.product.random_kib} "
                f"from filler limit {min(have, kib - have)}"
            )
        if self.product.settle:
            client.execute(self.product.settle.format("filler"))

    def write(self, text: str) -> None:
        """Add a row that tells of a moment."""
        self.login(USER, PASSWORD, DATABASE).execute(
            "create table if not exists told (text varchar(80) primary key); "
            f"insert into told values ('{text}')"
        )

    def told(self) -> set[str]:
        """The moments the rows tell of."""
        client = self.login(USER, PASSWORD, DATABASE)
        return {row[0] for row in client.execute("select text from told")}

    def checksums(self, *tables: str) -> list[list[str]]:
        """Checksums that the server makes of whole tables."""
        query = self.product.checksum
        return [self.admin(query.format(table), DATABASE)[0] for table in tables]

    def recorded(self, location: str, checksum: str) -> str:
        """Make a backup known as if it had been made of this instance; its id."""
        backup_id = str(uuid.uuid4())
        values = {
            "id": backup_id,
            "name": f"r-{backup_id[:8]}",
            "tenant_id": PROJECTS[ACCOUNTS["demo"].project],
            "instance_id": self.id,
            "datastore_version_id": self.backups.version_id(self.datastore),
            "state": "COMPLETED",
            "backup_type": "full",
            "storage_driver": "swift",
            "location": location,
            "checksum": checksum,
        }
        quoted = ", ".join(f"'{value}'" for value in values.values())
        self.lab.trove_sql(
            f"insert into backups ({', '.join(values)}, size, deleted, created, updated)"
            f" values ({quoted}, 0.1, 0, utc_timestamp(), utc_timestamp())"
        )
        return backup_id

    def back_up(self, container: str, parent: str | None = None) -> Record:
        """Make a backup and wait for its success."""
        name = f"b-{uuid.uuid4().hex[:8]}"
        backup_id = self.backups.create(
            name, self.id, parent=parent, container=container
        )
        self.backups.wait(backup_id, timeout=LIMIT)
        return record(self.lab, backup_id)

    def fail_to_back_up(self, container: str, parent: str | None = None) -> str:
        """Ask for a backup that must fail; the reason its user reads."""
        name = f"f-{uuid.uuid4().hex[:8]}"
        backup_id = self.backups.create(
            name, self.id, parent=parent, container=container
        )
        return self.failure(backup_id)

    def failure(self, backup_id: str, timeout: float = LIMIT) -> str:
        """Wait for the failure of a backup; the reason its user reads."""
        ended = self.backups.wait_end(backup_id, timeout=timeout)
        assert ended["status"] == "FAILED", ended
        return _fault(self, backup_id)


@contextmanager
def created(
    lab: Lab, datastore: str, *, size: int = 1, megabytes: int = 0, **more: Any
) -> Iterator[Owner]:
    """An instance with a database and a user, deleted afterwards."""
    user = {"name": USER, "password": PASSWORD, "databases": [{"name": DATABASE}]}
    owner = _create(lab, datastore, size, databases=[DATABASE], users=[user], **more)
    try:
        _wait_active(owner)
        owner.write("created")
        if megabytes:
            owner.fill(megabytes)
        yield owner
    finally:
        delete(owner.trove, owner.id)


@contextmanager
def restored(
    lab: Lab, datastore: str, backup_id: str, *, size: int = 1
) -> Iterator[Owner]:
    """A new instance made of a backup, deleted afterwards."""
    with restoring(lab, datastore, backup_id, size=size) as owner:
        _wait_active(owner)
        yield owner


@contextmanager
def restoring(
    lab: Lab, datastore: str, backup_id: str, *, size: int = 1
) -> Iterator[Owner]:
    """The same, not waited for."""
    point = {"backupRef": backup_id}
    owner = _create(lab, datastore, size, restorePoint=point)
    try:
        yield owner
    finally:
        delete(owner.trove, owner.id)


def _create(lab: Lab, datastore: str, size: int, **more: Any) -> Owner:
    trove = lab.trove()
    name = f"{datastore}-{uuid.uuid4().hex[:6]}"
    with _REQUESTING:
        instance_id = trove.create_instance(name, datastore, size=size, **more)["id"]
    return Owner(lab, trove, instance_id, datastore, "", size)


def _wait_active(owner: Owner) -> None:
    active = owner.trove.wait_active(owner.id, timeout=LIMIT)
    owner.address = owner.trove.address(active)


def wait_failed(owner: Owner, about: str) -> str:
    """Wait until a restore has failed with a reason that matches `about`."""
    ends, good = ("ERROR", "FAILED"), ("ACTIVE", "HEALTHY")
    owner.trove.wait_status(owner.id, *ends, timeout=LIMIT, fatal=good)
    return _fault(owner, about)


def _fault(owner: Owner, about: str) -> str:
    """The instance's fault that matches `about`.

    It may follow the state, and Trove's own words about a failed instance may
    stand there first.
    """
    # The agent tells it again after 40 s, when Trove has said its own.
    deadline = time.monotonic() + 90
    while True:
        fault = owner.trove.instance(owner.id).get("fault") or {}
        if re.search(about, fault.get("message", ""), re.IGNORECASE):
            return fault["message"]
        if time.monotonic() > deadline:
            raise AssertionError(f"no fault of {owner.id} matches {about!r}: {fault}")
        time.sleep(0.25)


def names_of(objects: ObjectClient, *records: Record) -> set[str]:
    """The names of all objects that those backups consist of."""
    names = set()
    for made in records:
        names.add(made.object)
        headers = objects.head(made.container, made.object)
        if "x-static-large-object" in headers:
            for segment in objects.manifest(made.container, made.object):
                container, name = segment["name"].strip("/").split("/")
                assert container == made.container
                names.add(name)
    return names


def check_whole(objects: ObjectClient, made: Record) -> None:
    """The stored object is what was recorded, and unpacks to its last byte."""
    headers = objects.head(made.container, made.object)
    assert headers["etag"].strip('"') == made.checksum
    assert made.object.endswith(".gz")
    body = objects.get(made.container, made.object)
    assert body
    # Not Python's: it copies what is left once for every member of the file.
    subprocess.run(["gzip", "--test"], input=body, check=True, capture_output=True)
