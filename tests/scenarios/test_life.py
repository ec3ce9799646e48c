"""What happens to an instance when something stops in the middle.

One instance of each kind of server, sealed RPC; every test leaves it healthy but
the last.
"""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from lab.clients.trove import TroveClient
from lab.guests.guest import AGENT_UNIT, Guest
from lab.lab import Lab
from lab.waiting import eventually
from scenarios.conftest import DATABASE, PASSWORD, USER, Instance, delete

# MySQL's server lives as MariaDB's does.
KINDS = ("mariadb", "postgresql")


@pytest.fixture(scope="module", params=KINDS)
def instance(lab: Lab, request: pytest.FixtureRequest) -> Iterator[Instance]:
    lab.use_mode("encrypted")
    trove = lab.trove()
    user = {"name": USER, "password": PASSWORD, "databases": [{"name": DATABASE}]}
    created = trove.create_instance(
        "life", request.param, databases=[DATABASE], users=[user]
    )
    try:
        address = trove.address(trove.wait_active(created["id"]))
        yield Instance(lab, trove, created["id"], request.param, address)
    finally:
        delete(trove, created["id"])


def admin_action(lab: Lab, instance_id: str, action: dict[str, Any]) -> None:
    """An action of the management API."""
    lab.trove("admin").request("POST", f"/mgmt/instances/{instance_id}/action", action)


def server_pid(instance: Instance) -> int:
    return int(instance.guest.unit(instance.product.unit)["MainPID"])


def test_agent_can_be_replaced_under_a_living_connection(instance: Instance) -> None:
    """SIGTERM, SIGKILL and a start: the server and its sessions never notice."""
    guest = instance.guest
    server = server_pid(instance)
    client = instance.login(USER, PASSWORD, DATABASE)
    session = subprocess.Popen(
        client.batch(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=client.environment(),
        text=True,
    )
    assert session.stdin is not None and session.stdout is not None

    def ask(statement: str) -> str:
        session.stdin.write(statement + ";\n")
        session.stdin.flush()
        return session.stdout.readline().strip()

    connection = ask(instance.product.connection)
    for restart in ("terminate", "kill"):
        pid = guest.agent_pid()
        if restart == "terminate":
            guest.run(["systemctl", "restart", AGENT_UNIT])
        else:
            guest.kill_agent()
        guest.wait_agent_restarted(pid)
        assert ask(instance.product.connection) == connection
    session.stdin.close()
    assert session.wait(10) == 0
    assert server_pid(instance) == server
    # The new agent answers and reports.
    assert DATABASE in instance.trove.databases(instance.id)
    instance.trove.wait_active(instance.id)


def test_frozen_agent_is_replaced(instance: Instance) -> None:
    """No progress, no watchdog ping: systemd starts another one."""
    guest = instance.guest
    drop_in = f"/run/systemd/system/{AGENT_UNIT}.d"
    guest.sh(f"mkdir -p {drop_in} && printf '[Service]\nWatchdogSec=20\n' > {drop_in}/quick.conf")
    guest.run(["systemctl", "daemon-reload"])
    guest.run(["systemctl", "restart", AGENT_UNIT])
    pid = guest.agent_pid()
    guest.kill_agent(signal.SIGSTOP)
    guest.wait_agent_restarted(pid, timeout=60)
    assert any("Watchdog timeout" in message for message in guest.messages())
    guest.sh(f"rm -r {drop_in} && systemctl daemon-reload")
    instance.trove.wait_active(instance.id)


def test_reboot(instance: Instance) -> None:
    """stop_db, Nova's reboot, restart: the data is there and the API content."""
    client = instance.login(USER, PASSWORD, DATABASE)
    client.execute("create table kept (id int primary key)")
    client.execute("insert into kept values (42)")
    before = instance.guest.leader()
    admin_action(instance.lab, instance.id, {"reboot": {}})
    eventually(
        lambda: instance.guest.running() and instance.guest.leader() != before, 60
    )
    instance.trove.wait_active(instance.id)
    eventually(lambda: client.execute("select id from kept") == [["42"]])


def test_power_loss_brings_the_server_back_and_stop_keeps_it_down(
    instance: Instance,
) -> None:
    """A server that ran comes back with the guest; a stopped one does not."""
    guest, unit = instance.guest, instance.product.unit
    power_cycle(instance)
    eventually(lambda: guest.unit(unit)["ActiveState"] == "active", 60)
    instance.trove.wait_active(instance.id)

    instance.lab.rpc(instance.id).call("stop_db", version="1.1")
    assert guest.unit(unit)["ActiveState"] in ("inactive", "deactivating")
    eventually(lambda: guest.unit(unit)["ActiveState"] == "inactive", 30)
    power_cycle(instance)
    guest.wait_message("Status reported. status=shutdown", 60)
    assert guest.unit(unit)["ActiveState"] == "inactive"

    instance.lab.rpc(instance.id).call("restart", timeout=60)
    instance.trove.wait_active(instance.id)


def power_cycle(instance: Instance) -> None:
    """Pull the plug and switch the guest on again, as Nova's hard reboot does."""
    before = instance.guest.leader()
    cloud = instance.lab.openstack("admin")
    cloud.run("server", "reboot", "--hard", instance.guest.id)
    eventually(lambda: instance.guest.running() and instance.guest.leader() != before, 60)
    instance.guest.wait_booted()


def test_resize_flavor(instance: Instance) -> None:
    """Stop, Nova's resize, start with the new flavor's configuration."""
    query = instance.product.sized
    (before,) = instance.admin(query)
    instance.trove.resize_flavor(instance.id, "3")
    instance.trove.wait_status(instance.id, "RESIZE", "ACTIVE", "HEALTHY")
    instance.trove.wait_active(instance.id)

    def resized() -> bool:
        (after,) = instance.admin(query)
        # The template draws a new server_id at every rendering; replicas
        # would lose their source if it were taken over.
        return int(after[0]) > int(before[0]) and after[1] == before[1]

    eventually(resized, 60)


def test_migrate(instance: Instance) -> None:
    """Trove 26.0.0 stops the server and asks Nova in words its client does not
    know (`force_host`); what is left for the guest is to start the server again."""
    before = server_pid(instance)
    admin_action(instance.lab, instance.id, {"migrate": {}})
    instance.trove.wait_active(instance.id)
    assert server_pid(instance) not in (0, before)


@pytest.mark.parametrize("datastore", KINDS)
def test_agent_killed_in_prepare_fails_the_instance_with_a_reason(
    lab: Lab, datastore: str
) -> None:
    """The request was acknowledged, so nobody would ever repeat it."""
    trove = lab.trove()
    created = trove.create_instance("killed", datastore)
    try:
        guest = booting_guest(lab, trove, created["id"])
        guest.wait_message("Initialising the data directory.", 60)
        guest.kill_agent()
        trove.wait_status(created["id"], "ERROR", fatal=())
        guest.wait_message("Operation was interrupted.", 60)
        # The taskmanager first puts a fault of its own in its place.
        eventually(
            lambda: "middle of prepare" in trove.instance(created["id"])["fault"]["message"],
            90,
        )
    finally:
        delete(trove, created["id"])


def booting_guest(lab: Lab, trove: TroveClient, instance_id: str) -> Guest:
    """The guest of an instance that is being created."""
    found: list[Guest] = []

    def booted() -> bool:
        trove.instance(instance_id)
        try:
            found.append(lab.guest(instance_id))
        except LookupError:
            return False
        return found[-1].running()

    eventually(booted, 60)
    found[-1].wait_booted()
    return found[-1]


def test_foreign_volume_is_never_formatted(instance: Instance) -> None:
    """A device with somebody's data is refused, named, and left as it was."""
    guest = instance.guest
    place = instance.product.mount_point
    guest.run(["systemctl", "stop", AGENT_UNIT, instance.product.unit])
    guest.sh(f"umount {place} && sed -i '\\,{place},d' /etc/fstab")
    guest.sh("wipefs --all --quiet /dev/vdb && mkfs.xfs -q -f -L precious /dev/vdb")
    digest = "dd if=/dev/vdb bs=1M count=64 status=none | sha256sum"
    before = guest.sh(digest)
    guest.run(["systemctl", "start", AGENT_UNIT])
    line = guest.wait_message("Guest not ready for a database.", 60)
    assert "/dev/vdb" in line and "xfs" in line
    assert guest.sh(digest) == before
    doctor = guest.run(
        ["trove-guestagent", "doctor", "--config-dir=/etc/trove/conf.d"], check=False
    )
    assert doctor.returncode == 1
    assert "FAIL data volume" in doctor.stdout
