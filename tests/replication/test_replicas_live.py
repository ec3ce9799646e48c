"""Replicas through what happens to any instance, and with TLS.

One story; every test goes on where the one before has ended.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from backups.steps import LIMIT, Owner
from lab.lab import Lab
from lab.waiting import eventually
from replication.conftest import sets_of_all
from scenarios import replication_steps as steps
from scenarios import standing
from scenarios.certificates import Authority
from scenarios.day2 import rebuild
from scenarios.replication_steps import Set
from scenarios.together import at_once

INFO = "/etc/trove/conf.d/guest_info.conf"


@pytest.fixture(scope="module")
def sets(lab: Lab) -> Iterator[list[Set]]:
    with sets_of_all(lab, replicas=1) as sets:
        yield sets


def _follows(replica: Owner) -> None:
    replica.trove.wait_active(replica.id, timeout=LIMIT)
    eventually(lambda: standing.follows(replica), steps.LAG)


def test_a_replica_stays_one(sets: list[Set], container: str) -> None:
    """Over restarts, a backup, a larger volume and a power failure."""

    def stay(found: Set) -> None:
        (replica,) = found.replicas
        with steps.writer(found.source) as going:
            going.wait_more(20)
            replica.trove.restart(replica.id)
            _follows(replica)
            replica.back_up(container)
            replica.trove.resize_volume(replica.id, replica.size + 1)
            _follows(replica)
            replica.guest.pull_plug()
            going.wait_more(20)
            replica.lab.openstack("admin").run("server", "reboot", "--hard", replica.guest.id)
            _follows(replica)
            count = going.stop()
        steps.check(found, count)

    at_once(stay, sets)


def test_a_source_restarts(sets: list[Set]) -> None:
    """Its replicas come back by themselves, and miss nothing."""

    def restart(found: Set) -> None:
        with steps.writer(found.source) as going:
            going.wait_more(20)
            found.source.trove.restart(found.source.id)
            found.source.trove.wait_active(found.source.id)
            going.wait_more(20)
            count = going.stop()
        steps.check(found, count)

    at_once(restart, sets)


def test_rebuilds(sets: list[Set]) -> None:
    """New root disks below a replica and below its source: nothing is missed."""

    def renew(found: Set) -> None:
        (replica,) = found.replicas
        with steps.writer(found.source) as going:
            going.wait_more(20)
            rebuild(replica)
            _follows(replica)
            rebuild(found.source)
            going.wait_more(20)
            _follows(replica)
            count = going.stop()
        steps.check(found, count)

    at_once(renew, sets)


def test_read_only_outlives_the_agent(sets: list[Set]) -> None:
    """A source that nobody may write to is one until it is told otherwise."""

    def outlive(found: Set) -> None:
        source = found.source
        rpc = source.lab.rpc(source.id)
        rpc.call("make_read_only", version="1.0", timeout=180, read_only=True)
        source.guest.kill_agent()
        assert standing.read_only(source)
        source.trove.wait_active(source.id)
        source.trove.restart(source.id)
        source.trove.wait_active(source.id)
        assert standing.read_only(source)
        eventually(
            lambda: rpc.call("make_read_only", version="1.0", timeout=180, read_only=False)
            is None,
            60,
        )
        assert not standing.read_only(source)
        _follows(found.replicas[0])

    at_once(outlive, sets)


def _demand_tls(member: Owner, authority: Authority) -> None:
    """As the API would, which takes certificates from Barbican."""
    certificate = authority.certificate("db.example")
    container = {
        "private_key": certificate.key,
        "certificate": certificate.pem,
        "ca": authority.pem,
    }
    answer = member.lab.rpc(member.id).call(
        "ssl_action",
        version="1.3",
        timeout=180,
        mode="enforced",
        container=container,
        enable=True,
        disable=None,
    )
    if answer["restart_required"]:
        shown = member.trove.instance
        eventually(lambda: shown(member.id)["operating_status"] == "RESTART_REQUIRED")
    # Replicas that follow do so until they connect again.
    member.trove.restart(member.id)
    member.trove.wait_active(member.id)


def test_a_replica_has_the_tls_of_its_source(sets: list[Set], container: str) -> None:
    """And it keeps it when it becomes the source itself."""

    def encrypt(found: Set) -> None:
        authority, (elder,) = Authority(), found.replicas
        # The source first, as the API does it.
        for member in found.members:
            _demand_tls(member, authority)
        _follows(elder)
        # Trove asks for an increment to it, which not every backup can have.
        found.source.back_up(container)
        (replica,) = steps.add_replicas(found, 1)
        assert "ssl_mode=enforced\n" in replica.guest.read_file(INFO)
        assert standing.senders(found.source) == (2, 2)
        steps.promote(found, replica)
        assert standing.senders(replica) == (2, 2)
        shown = replica.trove.request("GET", f"/instances/{replica.id}/ssl")["ssl"]
        assert shown["status"] == "on"

    at_once(encrypt, sets)
