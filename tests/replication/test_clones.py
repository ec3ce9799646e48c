"""Replicas of MySQL that copy the data of their running source.

One story; every test goes on where the one before has ended.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from backups.steps import Owner, wait_failed
from lab.lab import Lab
from lab.waiting import eventually
from scenarios import replication_steps as steps
from scenarios.conftest import DATABASE, delete, guests_with
from scenarios.replication_steps import Set

# Where upstream's agents keep backups if nothing else is asked for.
CONTAINER = "database_backups"
# GiB: room for the large table, which takes seconds to copy.
VOLUME, LARGE = 3, 1
MYSQL = "mysql.service"


@pytest.fixture(scope="module")
def found(lab: Lab) -> Iterator[Set]:
    """A source whose replicas clone it."""
    with (
        guests_with(lab, group="mysql", replica_provisioning="clone"),
        steps.replicated(lab, "mysql", replicas=0, size=VOLUME) as found,
    ):
        yield found


def cloned(member: Owner) -> list[list[str]]:
    """Which clone the server runs on, and how that ended."""
    return member.admin("select state, source from performance_schema.clone_status")


def privileges(member: Owner) -> list[list[str]]:
    """What the account of replicas may do beyond replicating."""
    return member.admin("select priv from mysql.global_grants where user like 'slave\\_%'")


def test_two_at_once(found: Set, container: str) -> None:
    """Under a writer, without a backup; those that there are stay."""
    source = found.source
    kept = source.back_up(container)
    stored = source.objects.list(CONTAINER)
    with steps.writer(source) as going:
        going.wait_more(50)
        steps.add_replicas(found, 2)
        going.wait_more(50)
        count = going.stop()
    steps.check(found, count)
    steps.check_users(found)
    assert source.objects.list(CONTAINER) == stored
    # At the end of a creation Trove deletes the backup it was made of.
    assert [each["id"] for each in source.backups.all(source.id)] == [kept.id]
    assert source.backups.show(kept.id)["status"] == "COMPLETED"
    for replica in found.replicas:
        assert cloned(replica) == [["Completed", f"{source.address}:3306"]]
    servers = {member.admin("select @@server_uuid, @@server_id")[0][0] for member in found.members}
    assert len(servers) == 3
    assert privileges(source) == [["BACKUP_ADMIN"]]
    word = source.guest.sh("sed -n 's/^password = //p' /var/lib/mysql/conf.d/replication.cnf")
    assert word.strip()
    for member in found.members:
        assert word.strip() not in "\n".join(member.guest.messages(None))


def test_promote(found: Set) -> None:
    """A clone is as good a source as any, and is cloned itself from here on."""
    steps.promote(found, found.replicas[0])


def failing(found: Set) -> list[Owner]:
    """Replicas that are being made; they are deleted with the set."""
    source = found.source
    known = set(source.trove.replicas(source.id))
    source.trove.create_replica(f"replica-{uuid.uuid4().hex[:6]}", source.id, 2)
    ids = sorted(set(source.trove.replicas(source.id)) - known)
    made = [Owner(source.lab, source.trove, each, "mysql", "", VOLUME) for each in ids]
    found.replicas += made
    return made


def copies(replica: Owner) -> bool:
    """Whether it is in the middle of the large table."""
    try:
        test = ["test", "-s", f"/var/lib/mysql/data/{DATABASE}/large.ibd"]
        return replica.guest.run(test, check=False).returncode == 0
    except Exception:  # it does not run yet
        return False


def check_dead(replica: Owner, reason: str) -> None:
    """The reason is told, and what was copied is never started."""
    wait_failed(replica, reason)
    guest = replica.guest
    eventually(lambda: guest.unit(MYSQL)["ActiveState"] in ("inactive", "failed"), 60)
    assert guest.unit(MYSQL)["UnitFileState"] == "disabled"
    assert guest.sh("ls /var/lib/mysql/.cloning")


def test_agent_and_source_die(found: Set) -> None:
    """One replica after the other fails; the source and those it has do not."""
    source, good = found.source, list(found.replicas)
    source.admin(f"create table {DATABASE}.large (i int primary key) autoextend_size = {LARGE}G")
    made = failing(found)

    eventually(lambda: any(copies(each) for each in made), 120)
    first = next(filter(copies, made))
    (second,) = [each for each in made if each is not first]
    first.guest.kill_agent()
    # It waits for its turn, which comes when the next agent ends the other's.
    eventually(lambda: copies(second), 120)
    source.guest.sh(f"systemctl kill --signal=KILL {MYSQL}")
    check_dead(first, "restarted|interrupted")
    check_dead(second, "clone the source")
    for each in (first, second):
        found.replicas.remove(each)
        delete(each.trove, each.id)
    assert found.replicas == good
    eventually(lambda: source.guest.unit(MYSQL)["ActiveState"] == "active", 60)
    source.admin(f"drop table {DATABASE}.large")
    source.trove.wait_active(source.id)
    with steps.writer(source) as going:
        going.wait_more(20)
        count = going.stop()
    steps.check(found, count)
