"""Instances whose databases have the tenant's port for themselves.

One of each datastore, made by a control plane that isolates networks and unplugs
volumes to grow them. Their lives go on at the same time from test to test.
"""

from __future__ import annotations

import ipaddress
import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from backups.steps import Owner
from lab import network
from lab.lab import Lab
from lab.settings import DATASTORES
from lab.waiting import eventually
from scenarios import replication_steps as steps
from scenarios import standing
from scenarios.conftest import delete, guests_with
from scenarios.test_life import admin_action
from scenarios.test_volumes import fstype, megabytes, wait_larger
from scenarios.together import all_created, at_once

AGENT = "trove-guestagent.service"
# The one whose volume has this file system; the others have ext4.
XFS = "mysql"


@pytest.fixture(scope="module")
def owners(lab: Lab) -> Iterator[list[Owner]]:
    lab.restart_trove("encrypted", isolation=True, online_resize=False)
    try:
        with ExitStack() as stack:
            with guests_with(lab, group="DEFAULT", volume_fstype="xfs", format_options="-f"):
                owners = stack.enter_context(all_created(lab, [XFS], megabytes=8))
            others = [datastore for datastore in DATASTORES if datastore != XFS]
            owners += stack.enter_context(all_created(lab, others, megabytes=8))
            yield owners
    finally:
        lab.restart_trove()


def injected(owner: Owner) -> dict[str, Any]:
    """The tenant's port as the taskmanager has described it."""
    return json.loads(owner.guest.read_file("/etc/trove/eth1.json"))


def plumbing(owner: Owner) -> list[str]:
    """Addresses, routes and rules, without what counts down."""
    shown = owner.guest.sh(
        "ip -brief -4 address; ip -4 route show table main; ip -4 route show table 7306;"
        " ip -4 rule; ip -6 rule"
    )
    return shown.splitlines()


def check(owner: Owner) -> None:
    """The tenant is served, the control plane too, and neither sees the other."""
    port = injected(owner)
    assert port["ipv4_address"] == owner.address
    assert ipaddress.ip_network(port["ipv4_cidr"]) == network.USER.network
    assert owner.told() >= {"created"}
    lines = plumbing(owner)
    (nic,) = [nic for nic in owner.guest.spec.nics if nic.segment == network.USER]
    (main,) = [line for line in lines if line.startswith(network.MANAGEMENT.cidr)]
    assert nic.name not in main
    assert f"default via {network.USER.gateway} dev {nic.name} src {owner.address} onlink " in lines
    # On the management side there is no database, whoever asks.
    tcp = 5432 if owner.datastore == "postgresql" else 3306
    with pytest.raises(OSError):
        socket.create_connection((owner.guest.management_address, tcp), 2)
    # The server's account has no way into the management network.
    where = f"ip route get {network.MANAGEMENT.network[99]} uid 1001"
    assert f"via {network.USER.gateway} dev {nic.name}" in owner.guest.sh(where)
    doctor = ["trove-guestagent", "doctor", "--config-dir=/etc/trove/conf.d"]
    assert f"{owner.address} on {nic.name}" in owner.guest.run(doctor).stdout


def test_created(owners: list[Owner]) -> None:
    """Tables are reached by the tenant's address and by no other."""
    at_once(check, owners)


def test_agent_starts_again(owners: list[Owner]) -> None:
    """Nothing changes, and what somebody has changed is put right."""

    def again(owner: Owner) -> None:
        guest, before = owner.guest, plumbing(owner)
        guest.run(["systemctl", "restart", AGENT])
        owner.trove.wait_active(owner.id)
        assert plumbing(owner) == before
        # As a DHCP client would, which knows nothing of who uses what.
        (nic,) = [nic for nic in guest.spec.nics if nic.segment == network.USER]
        guest.sh(f"ip route add default via {network.USER.gateway} dev {nic.name} onlink metric 9")
        guest.sh("ip rule del priority 7306")
        guest.run(["systemctl", "restart", AGENT])
        eventually(lambda: plumbing(owner) == before)

    at_once(again, owners)


def test_volumes_grow_unplugged(owners: list[Owner]) -> None:
    """stop_db, unmount, unplug, grow, plug, grow the file system, mount, restart."""

    def grow(owner: Owner) -> None:
        assert fstype(owner) == ("xfs" if owner.datastore == XFS else "ext4")
        sums = owner.checksums("filler")
        size = megabytes(owner)
        owner.trove.resize_volume(owner.id, 2)
        wait_larger(owner, 2)
        owner.trove.wait_active(owner.id)
        assert megabytes(owner) > size + 900
        assert owner.checksums("filler") == sums
        assert owner.told() == {"created"}

    at_once(grow, owners)


def test_stop_reboot_and_restart(owners: list[Owner]) -> None:
    """The address is there after a boot although nothing but the agent gives it."""

    def reboot(owner: Owner) -> None:
        guest, unit = owner.guest, owner.product.unit
        admin_action(owner.lab, owner.id, {"stop": {}})
        eventually(lambda: guest.unit(unit)["ActiveState"] == "inactive")
        before = guest.leader()
        admin_action(owner.lab, owner.id, {"reboot": {}})
        eventually(lambda: guest.running() and guest.leader() != before, 60)
        owner.trove.wait_active(owner.id)
        check(owner)
        owner.trove.restart(owner.id)
        owner.trove.wait_active(owner.id)
        check(owner)

    at_once(reboot, owners)


def test_replica_follows_on_the_tenants_side(owners: list[Owner]) -> None:
    """The source tells its tenant's address, and is reached by it."""

    def replicate(source: Owner) -> None:
        (replica,) = steps.add_replicas(steps.Set(source), 1)
        try:
            check(replica)
            source.write("replicated")
            eventually(lambda: "replicated" in replica.told(), steps.LAG)
            assert standing.peers(source, replica) == (replica.address, source.address)
        finally:
            source.trove.detach_replica(replica.id)
            eventually(lambda: source.trove.source(replica.id) is None, steps.SWITCH)
            delete(replica.trove, replica.id)

    at_once(replicate, owners)
