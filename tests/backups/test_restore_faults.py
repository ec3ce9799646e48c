"""What becomes of restores when the store fails, or what is stored is wrong.

No server may ever start with part of its data.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from backups.steps import (
    LARGE,
    LARGE_VOLUME,
    OBJECT,
    SEGMENT,
    Owner,
    created,
    names_of,
    record,
    restored,
    restoring,
    wait_failed,
)
from backups.store_proxy import Fault, Rule, StoreProxy
from backups.test_interop import encrypted, guests_with_key
from lab.lab import Lab
from lab.upstream_backup import Backup

KEY = "the right key"
DATA = f"{SEGMENT}|{OBJECT}"


@pytest.fixture(scope="module")
def instance(lab: Lab, store: StoreProxy) -> Iterator[Owner]:
    with created(lab, "mariadb", size=LARGE_VOLUME, megabytes=LARGE) as owner:
        yield owner


@pytest.fixture(scope="module")
def kept(instance: Owner) -> Iterator[str]:
    """A good backup in a container of its own; its id."""
    yield instance.back_up(f"kept-{uuid.uuid4().hex[:8]}").id


SPOILED = {
    "truncated": Rule(Fault.TRUNCATE, "GET", DATA, value=1 << 20),
    "corrupted": Rule(Fault.CORRUPT, "GET", DATA, value=1 << 20),
    "503": Rule(Fault.STATUS, "GET", DATA, value=503, first=3),
}


@pytest.mark.parametrize("rule", SPOILED.values(), ids=SPOILED.keys())
def test_download_that_fails_once(
    lab: Lab, instance: Owner, store: StoreProxy, kept: str, rule: Rule
) -> None:
    """What arrives wrong is asked for again."""
    with store.failing(rule), restored(lab, "mariadb", kept, size=LARGE_VOLUME) as copy:
        assert rule.struck.is_set()
        assert copy.checksums("filler") == instance.checksums("filler")


def test_download_that_never_succeeds(
    lab: Lab, store: StoreProxy, kept: str
) -> None:
    """No server starts with half of its data."""
    rule = Rule(Fault.CORRUPT, "GET", DATA, value=5000, count=None)
    with store.failing(rule), restoring(lab, "mariadb", kept, size=LARGE_VOLUME) as copy:
        wait_failed(copy, record(lab, kept).object)
        assert copy.guest.unit("mariadb.service")["ActiveState"] == "inactive"


def check_refused(lab: Lab, backup_id: str, reason: str) -> None:
    """What cannot be restored fails for this reason, before any server starts."""
    with restoring(lab, "mariadb", backup_id, size=LARGE_VOLUME) as copy:
        wait_failed(copy, reason)
        assert copy.guest.unit("mariadb.service")["ActiveState"] == "inactive"


def stored(instance: Owner, container: str, name: str, body: bytes) -> str:
    """A backup that consists of these bytes; its id."""
    objects = instance.objects
    objects.create_container(container)
    headers = {"X-Object-Meta-Datastore": "mariadb", "X-Object-Meta-Lsn": "1"}
    objects.put(container, name, body, headers)
    location = f"{objects.url}/{container}/{name}"
    return instance.backups.adopt(name, location, "mariadb")


def test_truncated_object(
    lab: Lab, instance: Owner, store: StoreProxy, kept: str, container: str
) -> None:
    """The checksum is that of the store, and yet half of it is missing."""
    made = record(lab, kept)
    whole = instance.objects.get(made.container, made.object)
    name = f"{uuid.uuid4()}.xbstream.gz"
    backup_id = stored(instance, container, name, whole[: len(whole) // 2])
    check_refused(lab, backup_id, name)


def test_object_of_something_else(
    lab: Lab, instance: Owner, store: StoreProxy, container: str
) -> None:
    name = f"{uuid.uuid4()}.xbstream.gz"
    backup_id = stored(instance, container, name, b"no backup at all" * 1000)
    check_refused(lab, backup_id, name)


def test_missing_parent(
    lab: Lab, instance: Owner, store: StoreProxy, container: str
) -> None:
    """Trove looks at the last of a chain only."""
    full = instance.back_up(container)
    increment = instance.back_up(container, parent=full.id)
    for name in names_of(instance.objects, full):
        instance.objects.delete(container, name)
    check_refused(lab, increment.id, full.object)


def test_other_parent(
    lab: Lab, instance: Owner, store: StoreProxy, container: str
) -> None:
    """A parent that is not what it was when the increment was made."""
    full = instance.back_up(container)
    increment = instance.back_up(container, parent=full.id)
    instance.objects.put(container, full.object, b"something else")
    check_refused(lab, increment.id, full.object)


@pytest.mark.parametrize(
    ("key", "reason"),
    [("another key", r"\bkey\b"), (None, "Decryption key not configured")],
    ids=["wrong key", "no key"],
)
def test_key_of_an_encrypted_backup(
    lab: Lab,
    instance: Owner,
    store: StoreProxy,
    kept: str,
    key: str | None,
    reason: str,
) -> None:
    made = record(lab, kept)
    sealed = encrypted(lab, Backup(made.location, made.checksum), KEY)
    backup_id = instance.backups.adopt("sealed", sealed.location, "mariadb")
    if key is None:
        check_refused(lab, backup_id, reason)
    else:
        with guests_with_key(lab, key):
            check_refused(lab, backup_id, reason)


def test_agent_dies_in_a_restore(
    lab: Lab, instance: Owner, store: StoreProxy, kept: str
) -> None:
    """The instance fails with a reason; its server never starts."""
    held = Rule(Fault.HOLD, "GET", DATA, first=3, count=None)
    with store.failing(held), restoring(lab, "mariadb", kept, size=LARGE_VOLUME) as copy:
        assert held.struck.wait(120)
        before = copy.guest.agent_pid()
        copy.guest.kill_agent()
        copy.guest.wait_agent_restarted(before)
        wait_failed(copy, "restarted|interrupted")
        assert copy.guest.unit("mariadb.service")["ActiveState"] == "inactive"
