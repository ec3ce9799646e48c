"""What becomes of backups when something fails on the way.

However it ends: the state is right, its user reads the reason, nothing that does
not belong to a backup stays in the store, and the next one is fine.

One MariaDB instance whose data takes more parts than are sent at once, so that
the tool still runs while the first of them are on their way.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator

import pytest

from backups.steps import (
    LARGE,
    LARGE_VOLUME,
    OBJECT,
    SEGMENT,
    Owner,
    check_whole,
    created,
    names_of,
    record,
)
from backups.store_proxy import Fault, Rule, StoreProxy
from lab.lab import Lab
from lab.waiting import eventually

MANIFEST = r"\.xbstream\.gz\?multipart-manifest=put"


@pytest.fixture(scope="module")
def instance(lab: Lab, store: StoreProxy) -> Iterator[Owner]:
    with created(lab, "mariadb", size=LARGE_VOLUME, megabytes=LARGE) as owner:
        yield owner


def begin(instance: Owner, container: str) -> str:
    """Ask for a backup; its id."""
    return instance.backups.create(
        f"f-{uuid.uuid4().hex[:8]}", instance.id, container=container
    )


def check_next(instance: Owner, container: str) -> None:
    """The next backup is fine, and all that the container holds."""
    made = instance.back_up(container)
    check_whole(instance.objects, made)
    objects = instance.objects
    eventually(lambda: set(objects.list(container)) == names_of(objects, made), 30)


def tools(instance: Owner) -> str:
    """Pids of the tool in the guest."""
    return instance.guest.run(["pgrep", "-x", "mariadb-backup"], check=False).stdout


PASSING = {
    "503 twice": Rule(Fault.STATUS, "PUT", SEGMENT, value=503, first=2, count=2),
    "429": Rule(Fault.STATUS, "PUT", SEGMENT, value=429, first=3),
    "408": Rule(Fault.STATUS, "PUT", SEGMENT, value=408),
    "cut in a part": Rule(Fault.CUT, "PUT", SEGMENT, value=1 << 20, first=3),
    "no answer": Rule(Fault.MUTE, "PUT", SEGMENT, first=2),
    "wrong etag": Rule(Fault.ETAG, "PUT", SEGMENT, first=2),
    "503 to the manifest": Rule(Fault.STATUS, "PUT", MANIFEST, value=503),
    "no answer to the manifest": Rule(Fault.MUTE, "PUT", MANIFEST),
    "503 to the last look": Rule(Fault.STATUS, "HEAD", OBJECT, value=503),
}


@pytest.mark.parametrize("rule", PASSING.values(), ids=PASSING.keys())
def test_what_passes_is_survived(
    instance: Owner, store: StoreProxy, container: str, rule: Rule
) -> None:
    """A store that fails now and then costs time, not the backup."""
    with store.failing(rule):
        made = instance.back_up(container)
    assert rule.struck.is_set()
    check_whole(instance.objects, made)
    assert set(instance.objects.list(container)) == names_of(instance.objects, made)


def for_ever(fault: Fault, value: int = 0) -> Rule:
    """From the second part on."""
    return Rule(fault, "PUT", SEGMENT, value=value, first=2, count=None)


# With what the reason must speak of.
LASTING = {
    "413": (for_ever(Fault.STATUS, 413), "413|too large"),
    "403": (for_ever(Fault.STATUS, 403), "403|allow|denied"),
    "507": (for_ever(Fault.STATUS, 507), "507|space|full"),
    "wrong etags": (for_ever(Fault.ETAG), "md5|etag|checksum"),
    "cut": (for_ever(Fault.CUT, 1000), "connection"),
}


@pytest.mark.parametrize(("rule", "reason"), LASTING.values(), ids=LASTING.keys())
def test_what_lasts_fails_the_backup(
    instance: Owner, store: StoreProxy, container: str, rule: Rule, reason: str
) -> None:
    """The reason is told, and the parts that were stored are gone."""
    with store.failing(rule):
        told = instance.failure(begin(instance, container), timeout=420)
    assert rule.struck.is_set()
    assert re.search(reason, told, re.IGNORECASE), told
    eventually(lambda: instance.objects.list(container) == {}, 30)
    check_next(instance, container)


def test_token_that_ends(instance: Owner, store: StoreProxy, container: str) -> None:
    """Nothing can be removed with it; the next backup's token does that."""
    rules = [
        Rule(Fault.STATUS, "PUT", SEGMENT, value=401, first=3, count=None),
        Rule(Fault.STATUS, "GET|HEAD|DELETE", container, value=401, count=None),
    ]
    with store.failing(*rules):
        told = instance.failure(begin(instance, container))
    assert "token" in told
    check_next(instance, container)


def test_slow_store(instance: Owner, store: StoreProxy, container: str) -> None:
    """The stream waits for the store; the database does not."""
    held = Rule(Fault.HOLD, "PUT", SEGMENT, first=2, count=None)
    with store.failing(held):
        backup_id = begin(instance, container)
        assert held.struck.wait(60)
        instance.write(f"while {backup_id} stands still")
        assert instance.lab.rpc(instance.id).call("rpc_ping") is True
        assert instance.backups.show(backup_id)["status"] == "BUILDING"
        held.released.set()
        instance.backups.wait(backup_id)
    check_whole(instance.objects, record(instance.lab, backup_id))


def test_tool_dies(instance: Owner, store: StoreProxy, container: str) -> None:
    held = Rule(Fault.HOLD, "PUT", SEGMENT, first=2, count=None)
    with store.failing(held):
        backup_id = begin(instance, container)
        assert held.struck.wait(60)
        instance.guest.sh("pkill -KILL -x mariadb-backup")
        held.released.set()
        told = instance.failure(backup_id)
    assert "mariadb-backup" in told
    eventually(lambda: instance.objects.list(container) == {}, 30)
    check_next(instance, container)


def test_database_dies(instance: Owner, store: StoreProxy, container: str) -> None:
    """Whether the tool has noticed or not: no backup of half the data."""
    held = Rule(Fault.HOLD, "PUT", SEGMENT, first=2, count=None)
    with store.failing(held):
        backup_id = begin(instance, container)
        assert held.struck.wait(60)
        instance.guest.sh("systemctl kill --signal=KILL mariadb.service")
        held.released.set()
        told = instance.failure(backup_id)
    assert "mariadb-backup" in told
    instance.trove.restart(instance.id)
    instance.trove.wait_active(instance.id)
    check_next(instance, container)


def at(path: str, first: int = 1) -> Rule:
    """Uploads to there wait, and come to nothing."""
    return Rule(Fault.HOLD, "PUT", path, first=first, count=None, lost=True)


STAGES = {
    "before anything is stored": at(r"/test-\w+$"),
    "between parts": at(SEGMENT, first=3),
    "before the manifest": at(MANIFEST),
}


@pytest.mark.parametrize("held", STAGES.values(), ids=STAGES.keys())
def test_agent_dies(
    instance: Owner, store: StoreProxy, container: str, held: Rule
) -> None:
    """The next agent says that the backup has failed, and cleans up with the next."""
    with store.failing(held):
        backup_id = begin(instance, container)
        assert held.struck.wait(120)
        before = instance.guest.agent_pid()
        instance.guest.kill_agent()
        instance.guest.wait_agent_restarted(before)
        told = instance.failure(backup_id, timeout=60)
    assert "restart" in told or "interrupted" in told
    eventually(lambda: not tools(instance))
    check_next(instance, container)


def test_agent_dies_when_all_is_stored(
    instance: Owner, store: StoreProxy, container: str
) -> None:
    """Failed and removed, or completed and whole; nothing between."""
    held = Rule(Fault.HOLD, "HEAD", OBJECT, lost=True)
    with store.failing(held):
        backup_id = begin(instance, container)
        assert held.struck.wait(120)
        before = instance.guest.agent_pid()
        instance.guest.kill_agent()
        instance.guest.wait_agent_restarted(before)
        ended = instance.backups.wait_end(backup_id, timeout=60)
    if ended["status"] == "COMPLETED":
        made = record(instance.lab, backup_id)
        check_whole(instance.objects, made)
        assert set(instance.objects.list(container)) == names_of(instance.objects, made)
    else:
        check_next(instance, container)


def test_one_backup_at_a_time(
    instance: Owner, store: StoreProxy, container: str
) -> None:
    """Other work goes on beside a backup, and is refused where it cannot."""
    held = Rule(Fault.HOLD, "PUT", SEGMENT, first=2, count=None)
    name = f"beside_{uuid.uuid4().hex[:6]}"
    with store.failing(held):
        backup_id = begin(instance, container)
        assert held.struck.wait(60)
        instance.trove.create_databases(instance.id, {"name": name})
        eventually(lambda: name in instance.databases())
        held.released.set()
        instance.backups.wait(backup_id)
    instance.trove.delete_database(instance.id, name)
