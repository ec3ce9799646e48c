"""What becomes of a backup by MySQL's clone plugin when the clone fails.

The reason is told, nothing of the copy stays on the volume, the server is
healthy or can be started, and the next backup is fine.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from backups.steps import Owner, check_whole, created, names_of
from lab.lab import Lab
from lab.waiting import eventually
from scenarios.conftest import DATABASE

# GiB: room for a copy of the large table, and seconds to make it.
VOLUME, LARGE = 4, 1
# Bytes that are free when somebody has filled the volume: too few for the
# copy, enough for the server, which would wait a minute for more.
LEFT = 100 << 20
CLONE = "/var/lib/mysql/.clone-"


@pytest.fixture(scope="module")
def instance(lab: Lab) -> Iterator[Owner]:
    with created(lab, "mysql", size=VOLUME, megabytes=4) as owner:
        yield owner


@contextmanager
def large_table(instance: Owner, gib: int = LARGE) -> Iterator[None]:
    """A file that is all there at once, without a row in it."""
    table = f"{DATABASE}.large"
    instance.admin(f"create table {table} (i int primary key) autoextend_size = {gib}G")
    try:
        yield
    finally:
        if instance.guest.unit("mysql.service")["ActiveState"] != "active":
            instance.trove.restart(instance.id)
            instance.trove.wait_active(instance.id)
        instance.admin(f"drop table {table}")


def begin(instance: Owner, container: str) -> str:
    """Ask for a backup, and wait until the server copies; the backup's id."""
    backup_id = instance.backups.create(
        f"f-{uuid.uuid4().hex[:8]}", instance.id, container=container
    )
    # Behind the tables of the system, in the middle of the large one.
    copied = f"test -s {CLONE}{backup_id}/data/{DATABASE}/large.ibd"
    eventually(lambda: instance.guest.run(["sh", "-c", copied], check=False).returncode == 0, 60)
    return backup_id


def words(told: str) -> str:
    """Trove breaks what it is told into lines."""
    return " ".join(told.split())


def check_clean(instance: Owner, container: str) -> None:
    """Nothing of the failed backup is left, on the volume or in the store."""
    guest = instance.guest
    eventually(lambda: guest.sh(f"ls -d {CLONE}* 2>/dev/null", check=False) == "", 30)
    eventually(lambda: instance.objects.list(container) == {}, 30)


def check_next(instance: Owner, container: str) -> None:
    """The server works, the next backup is fine, and leaves no plugin of ours."""
    instance.write(f"after the failure of {container}")
    made = instance.back_up(container)
    check_whole(instance.objects, made)
    assert set(instance.objects.list(container)) == names_of(instance.objects, made)
    plugins = instance.admin("select plugin_name from information_schema.plugins")
    assert ["clone"] not in plugins
    assert instance.guest.sh("ls -A /var/lib/mysql | grep clone", check=False) == ""


def test_server_dies(instance: Owner, container: str) -> None:
    with large_table(instance):
        backup_id = begin(instance, container)
        instance.guest.sh("systemctl kill --signal=KILL mysql.service")
        told = words(instance.failure(backup_id))
        assert "clone the data: no connection to the server" in told
        check_clean(instance, container)
    check_next(instance, container)


def test_connection_is_killed(instance: Owner, container: str) -> None:
    """An impatient administrator ends what takes so long."""
    with large_table(instance):
        backup_id = begin(instance, container)
        found = instance.admin(
            "select id from performance_schema.processlist where info like 'CLONE%'"
        )
        ((connection,),) = found
        instance.admin(f"kill {connection}")
        told = words(instance.failure(backup_id))
        assert re.search("clone the data: .*(interrupted|killed|connection)", told, re.I), told
        check_clean(instance, container)
    check_next(instance, container)


def test_no_room(instance: Owner, container: str) -> None:
    """Known before anything is copied; the user learns how much it takes."""
    with large_table(instance, VOLUME // 2):
        told = words(instance.fail_to_back_up(container))
    assert re.search(r"needs space .* MiB, but only \d+ MiB .* resize", told), told
    check_clean(instance, container)
    check_next(instance, container)


def test_room_ends(instance: Owner, container: str) -> None:
    """Somebody fills the volume while the server copies."""
    guest, filler = instance.guest, "/var/lib/mysql/filler"
    with large_table(instance):
        backup_id = begin(instance, container)
        try:
            free = int(guest.sh("df --output=avail -B1 /var/lib/mysql | tail -1"))
            guest.run(["fallocate", f"--length={free - LEFT}", filler])
            told = words(instance.failure(backup_id))
        finally:
            guest.run(["rm", "-f", filler])
        assert re.search("clone the data: .*(space|full|write)", told, re.I), told
        check_clean(instance, container)
    check_next(instance, container)
