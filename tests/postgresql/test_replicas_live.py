"""Replicas through what happens to any instance, and with TLS.

One story; every test goes on where the one before has ended.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from backups.steps import LIMIT, Owner
from lab.lab import Lab
from lab.waiting import eventually
from scenarios import replication_steps as steps
from scenarios.certificates import Authority
from scenarios.replication_steps import Set

INFO = "/etc/trove/conf.d/guest_info.conf"
STREAMING = "select status from pg_stat_wal_receiver"
ENCRYPTED = (
    "select count(*), bool_and(ssl) from pg_stat_ssl join pg_stat_replication using (pid) "
    "where application_name like 'trove\\_%'"
)


@pytest.fixture(scope="module")
def found(lab: Lab) -> Iterator[Set]:
    with steps.replicated(lab, "postgresql", replicas=1) as found:
        yield found


def _follows(replica: Owner) -> None:
    replica.trove.wait_active(replica.id, timeout=LIMIT)
    eventually(lambda: replica.admin(STREAMING) == [["streaming"]], steps.LAG)


def test_a_replica_stays_one(found: Set) -> None:
    """Over restarts, a larger volume and a power failure."""
    (replica,) = found.replicas
    with steps.writer(found.source) as going:
        going.wait_more(20)
        replica.trove.restart(replica.id)
        _follows(replica)
        replica.trove.resize_volume(replica.id, replica.size + 1)
        _follows(replica)
        replica.guest.pull_plug()
        going.wait_more(20)
        replica.lab.openstack("admin").run("server", "reboot", "--hard", replica.guest.id)
        _follows(replica)
        count = going.stop()
    steps.check(found, count)


def test_a_source_restarts(found: Set) -> None:
    """Its replicas come back by themselves, and miss nothing."""
    with steps.writer(found.source) as going:
        going.wait_more(20)
        found.source.trove.restart(found.source.id)
        found.source.trove.wait_active(found.source.id)
        going.wait_more(20)
        count = going.stop()
    steps.check(found, count)


def test_read_only_outlives_the_agent(found: Set) -> None:
    """A source that nobody may write to is one until it is told otherwise."""
    source = found.source
    rpc = source.lab.rpc(source.id)
    rpc.call("make_read_only", version="1.0", timeout=180, read_only=True)
    source.guest.kill_agent()
    writable = "select pg_is_in_recovery()"
    assert source.admin(writable) == [["t"]]
    source.trove.wait_active(source.id)
    eventually(
        lambda: rpc.call("make_read_only", version="1.0", timeout=180, read_only=False)
        is None,
        60,
    )
    assert source.admin(writable) == [["f"]]
    _follows(found.replicas[0])


def test_a_replica_has_the_tls_of_its_source(found: Set) -> None:
    """And it keeps it when it becomes the source itself."""
    source, authority = found.source, Authority()
    certificate = authority.certificate("db.example")
    container = {
        "private_key": certificate.key,
        "certificate": certificate.pem,
        "ca": authority.pem,
    }
    # As the API would send it, which takes it from Barbican.
    source.lab.rpc(source.id).call(
        "ssl_action",
        version="1.3",
        timeout=180,
        mode="enforced",
        container=container,
        enable=True,
        disable=None,
    )
    (replica,) = steps.add_replicas(found, 1)
    assert "ssl_mode=enforced\n" in replica.guest.read_file(INFO)
    # The elder one followed before, and does so until it connects again.
    found.replicas[0].trove.restart(found.replicas[0].id)
    _follows(found.replicas[0])
    assert source.admin(ENCRYPTED) == [["2", "t"]]
    steps.promote(found, replica)
    assert replica.admin(ENCRYPTED) == [["2", "t"]]
    assert replica.admin("show ssl") == [["on"]]
