"""A source with replicas, of any datastore, and what happens to them.

The steps keep a writer going and ask afterwards for every commit that it was
promised. The caller's lab must have its object store: replicas begin with a
backup.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from backups.steps import LIMIT, Owner, created
from lab.clients.sql import SqlError
from lab.clients.trove import ApiError
from lab.clients.writer import TABLE, Login, Writer, missing
from lab.lab import Lab
from lab.waiting import eventually
from scenarios import standing
from scenarios.conftest import DATABASE, PASSWORD, USER, delete

# Trove ejects a source only when it has been silent for so long, and a bit.
SILENCE = 120.0
# How long replicas may stay behind, and a switch may take.
LAG, SWITCH = 60.0, 240.0
# What a promotion may keep a writer waiting for that knows where to go.
PAUSE = 30.0


@dataclass
class Set:
    """A source and its replicas; both change in the course of events."""

    source: Owner
    replicas: list[Owner] = field(default_factory=list)
    # Instances that were a part of it.
    gone: list[Owner] = field(default_factory=list)

    @property
    def members(self) -> list[Owner]:
        return [self.source, *self.replicas]


@contextmanager
def replicated(
    lab: Lab, datastore: str, replicas: int, *, size: int = 1
) -> Iterator[Set]:
    """A source with some rows and its replicas, all of them deleted afterwards."""
    with created(lab, datastore, size=size) as source:
        found = Set(source)
        try:
            source.fill(4)
            if replicas:
                add_replicas(found, replicas)
            yield found
        finally:
            if source.trove.source(source.id) is not None:
                source.trove.detach_replica(source.id)
                eventually(lambda: source.trove.source(source.id) is None, SWITCH)
            # A source that has replicas is not deleted: they go first.
            for member in [*found.replicas, found.source, *found.gone]:
                if member.id != source.id:
                    delete(member.trove, member.id)


def add_replicas(found: Set, count: int) -> list[Owner]:
    """Replicas made at once, of one backup; they are ACTIVE afterwards."""
    source = found.source
    known = set(source.trove.replicas(source.id))
    backups = source.backups.all(source.id)
    name = f"replica-{uuid.uuid4().hex[:6]}"
    source.trove.create_replica(name, source.id, count)
    ids = set(source.trove.replicas(source.id)) - known
    assert len(ids) == count
    added = [
        Owner(source.lab, source.trove, each, source.datastore, "", source.size)
        for each in sorted(ids)
    ]
    found.replicas += added
    for replica in added:
        active = replica.trove.wait_active(replica.id, timeout=LIMIT)
        replica.address = replica.trove.address(active)
    source.trove.wait_active(source.id)
    # The backup was only for them.
    eventually(lambda: len(source.backups.all(source.id)) == len(backups), 30)
    return added


def writer(source: Owner) -> Writer:
    """Writes to the source, as its user."""
    login = Login(source.datastore, source.address, USER, PASSWORD, DATABASE)
    return Writer(login)


def check(found: Set, count: int) -> None:
    """Every member has all rows up to `count`; only the source takes more.

    So says the API, too.
    """
    source = found.source
    expected = {replica.id for replica in found.replicas}
    eventually(lambda: set(source.trove.replicas(source.id)) == expected, LAG)
    assert source.trove.source(source.id) is None
    for member in found.members:
        client = member.login(USER, PASSWORD, DATABASE)
        eventually(lambda: missing(count, client.execute) == [], LAG)
    mark = f"member_{uuid.uuid4().hex[:8]}"
    for replica in found.replicas:
        assert replica.trove.source(replica.id) == source.id
        client = replica.login(USER, PASSWORD, DATABASE)
        # Not for lack of rights: because it is a replica.
        with pytest.raises(SqlError, match="read.only"):
            client.execute(f"create table {mark} (i int)")
    source.login(USER, PASSWORD, DATABASE).execute(f"create table {mark} (i int)")
    for replica in found.replicas:
        client = replica.login(USER, PASSWORD, DATABASE)
        eventually(lambda: client.execute(f"select count(*) from {mark}"), LAG)
        tables = ("filler", TABLE)
        eventually(lambda: replica.checksums(*tables) == source.checksums(*tables), LAG)
        assert standing.own_transactions(replica, source) == []


def check_users(found: Set) -> None:
    """What the API changes at the source is changed everywhere."""
    name = f"user_{uuid.uuid4().hex[:6]}"
    user = {"name": name, "password": "s3cret", "databases": [{"name": DATABASE}]}
    found.source.trove.create_users(found.source.id, user)
    for member in found.members:
        client = member.login(name, "s3cret", DATABASE)
        eventually(lambda: client.execute("select 1") == [["1"]], LAG)
    found.source.trove.delete_user(found.source.id, name)
    for member in found.members:
        eventually(lambda: name not in member.account_names(), LAG)


def check_root(found: Set) -> None:
    """Not even the tenant's administrator writes to a replica.

    Changes of users are refused there, too: they would be its own.
    """
    source = found.source
    password = source.trove.enable_root(source.id)["password"]
    for replica in found.replicas:
        client = replica.login("root", password, DATABASE)
        eventually(lambda: client.execute("select 1") == [["1"]], LAG)
        with pytest.raises(SqlError, match="read.only"):
            client.execute("create table of_root (i int)")
        before = replica.accounts()
        user = {"name": "of_a_replica", "password": "s3cret"}
        replica.trove.create_users(replica.id, user)
        eventually(lambda: _has_fault(replica, "replica"), LAG)
        assert replica.accounts() == before


def _has_fault(member: Owner, about: str) -> bool:
    fault = member.trove.instance(member.id).get("fault") or {}
    return re.search(about, fault.get("message", "")) is not None


def cut(found: Set, replica: Owner) -> None:
    """The network between a replica and everybody fails, and comes back.

    The others go on, and the replica comes back by itself.
    """
    with writer(found.source) as going:
        going.wait_more(20)
        with replica.lab.cut_off(replica.guest):
            going.wait_more(100)
            if replica.datastore != "postgresql":  # which takes its minute to notice
                eventually(lambda: not standing.follows(replica), LAG)
            known = replica.admin(f"select max(n) from {TABLE}", DATABASE)
            assert int(known[0][0]) < going.acknowledged
        eventually(lambda: standing.follows(replica), LAG)
        going.wait_more(20)
        count = going.stop()
    check(found, count)


def settled(found: Set) -> None:
    """Wait until every member is ACTIVE and healthy again."""
    for member in found.members:
        member.trove.wait_active(member.id, timeout=SWITCH)


def promote(found: Set, replica: Owner) -> None:
    """Make a replica the source under a writer.

    No acknowledged row is lost, and the old source becomes a replica.
    """
    with writer(found.source) as going:
        going.wait_more(50)
        # It writes to whichever of the two lets it.
        going.offer(replica.address)
        asked = time.monotonic()
        replica.trove.promote_replica(replica.id)
        eventually(lambda: replica.trove.source(replica.id) is None, SWITCH)
        _switch(found, replica)
        settled(found)
        going.wait_more(50)
        count = going.stop()
    print(
        f"{replica.datastore}: writable {going.after_pause() - asked:.1f} s after the call, "
        f"longest pause of the writer {going.longest_pause():.1f} s"
    )
    assert going.longest_pause() < PAUSE
    check(found, count)


def eject(found: Set, dead: str) -> Owner:
    """Power fails at the source, or only its agent, and it is ejected.

    All rows are there that the replicas had before; what was acknowledged after
    they had last asked may be lost, and only the end of it. A server that lives
    on sends while its replicas are compared. The answer is the old source.
    """
    old = found.source
    with writer(old) as going:
        going.wait_more(50)
        for replica in found.replicas:
            client = replica.login(USER, PASSWORD, DATABASE)
            count = going.acknowledged
            eventually(lambda: missing(count, client.execute) == [], LAG)
        if dead == "agent":
            old.guest.sh("systemctl stop trove-guestagent")
        else:
            old.guest.pull_plug()
            going.stop()
        _when_silent(old)
        eventually(lambda: old.trove.replicas(old.id) == [], SWITCH)
        # All are detached for a moment; then the others follow the new source.
        eventually(lambda: len(_sources(found)) == 1, SWITCH)
        acknowledged = going.stop()
    (new,) = _sources(found)
    _switch(found, new)
    found.replicas.remove(old)
    found.gone.append(old)
    settled(found)
    lost = missing(acknowledged, new.login(USER, PASSWORD, DATABASE).execute)
    kept = acknowledged - len(lost)
    assert lost == list(range(kept + 1, acknowledged + 1))
    assert kept >= count
    check(found, kept)
    _revive(old)
    check(found, kept)
    return old


def _revive(old: Owner) -> None:
    """Power returns to an ejected source; it is an instance of its own now."""
    old.lab.openstack("admin").run("server", "reboot", "--hard", old.guest.id)
    old.trove.wait_active(old.id, timeout=SWITCH)
    assert old.trove.source(old.id) is None
    assert old.trove.replicas(old.id) == []


def _sources(found: Set) -> list[Owner]:
    """Those among the replicas that are none any more."""
    return [r for r in found.replicas if r.trove.source(r.id) is None]


def _when_silent(old: Owner) -> None:
    """Eject as soon as Trove believes that the source is dead."""
    deadline = time.monotonic() + SILENCE
    while True:
        try:
            old.trove.eject_source(old.id)
            return
        except ApiError as error:
            if "current heartbeat" not in error.body or time.monotonic() > deadline:
                raise
        time.sleep(1)


def _switch(found: Set, new: Owner) -> None:
    """Account for a new source; the old one becomes a replica."""
    found.replicas = [r for r in found.members if r.id != new.id]
    found.source = new


def detach(found: Set, replica: Owner) -> None:
    """A replica becomes an instance of its own, with all its rows."""
    with writer(found.source) as going:
        count = going.wait_more(50)
        client = replica.login(USER, PASSWORD, DATABASE)
        eventually(lambda: missing(count, client.execute) == [], LAG)
        replica.trove.detach_replica(replica.id)
        eventually(lambda: replica.trove.source(replica.id) is None, SWITCH)
        replica.trove.wait_active(replica.id, timeout=SWITCH)
        client.execute("create table its_own (i int)")
        going.wait_more(50)
        last = going.stop()
    found.replicas.remove(replica)
    found.gone.append(replica)
    assert missing(count, client.execute) == []
    assert missing(last, client.execute) != []
    with pytest.raises(SqlError):
        found.source.login(USER, PASSWORD, DATABASE).execute("select * from its_own")
    check(found, last)
