"""What happens to an instance when something stops in the middle.

One instance of each kind of server, sealed RPC; every test leaves it healthy but
the last.
"""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from lab import settings
from lab.clients.trove import TroveClient
from lab.guests.guest import AGENT_UNIT, Guest
from lab.lab import Lab
from lab.waiting import eventually
from scenarios.conftest import DATABASE, PASSWORD, USER, Instance, delete

# Names and ids of the events, as the agent has them.
EVENTS = dict(
    re.findall(
        r'"(\w+)", "([0-9a-f]{32})"',
        (settings.REPO / "src/agent/src/logging/events.rs").read_text(),
    )
)

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


class Session:
    """A connection of a user that stays open."""

    def __init__(self, instance: Instance) -> None:
        client = instance.login(USER, PASSWORD, DATABASE)
        self._who = instance.product.connection
        self._client = subprocess.Popen(
            client.batch(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=client.environment(),
            text=True,
        )

    def number(self) -> str:
        """The server's own number of this connection."""
        assert self._client.stdin is not None and self._client.stdout is not None
        self._client.stdin.write(self._who + ";\n")
        self._client.stdin.flush()
        return self._client.stdout.readline().strip()

    def close(self) -> int:
        assert self._client.stdin is not None
        self._client.stdin.close()
        return self._client.wait(10)


def test_agent_can_be_replaced_under_a_living_connection(instance: Instance) -> None:
    """SIGTERM, SIGKILL, a start, other binaries: server and sessions never notice."""
    guest = instance.guest
    server, session = server_pid(instance), Session(instance)
    connection = session.number()
    for restart in (terminate, kill, replace_by_another, replace_by_one_that_fails):
        pid = guest.agent_pid()
        restart(guest)
        guest.wait_agent_restarted(pid)
        assert session.number() == connection, restart
    assert session.close() == 0
    assert server_pid(instance) == server
    # The new agent answers and reports.
    assert DATABASE in instance.trove.databases(instance.id)
    instance.trove.wait_active(instance.id)


def terminate(guest: Guest) -> None:
    guest.run(["systemctl", "restart", AGENT_UNIT])


def kill(guest: Guest) -> None:
    guest.kill_agent()


BINARY = "/usr/local/bin/trove-guestagent"


def replace_by_another(guest: Guest) -> None:
    """The same program as another file; the one before is kept."""
    guest.sh(f"cp {BINARY} /root/other")
    before = guest.sh(f"stat -c %i {BINARY}")
    said = guest.run([BINARY, "replace", "/root/other"], timeout=180).stdout
    assert said.startswith("Agent replaced by trove-guestagent "), said
    assert guest.sh(f"stat -c %i {BINARY}.previous") == before
    assert guest.sh(f"stat -c %i {BINARY}") != before
    assert event(guest, "agent_replaced")


# Says what it is asked, and dies as an agent at once or when it has started.
IMPOSTOR = """#!/bin/sh
case "$1" in version|check) exec {0}.previous "$@";; esac
echo "this one does not work" >&2
{1}
exit 1
"""


def replace_by_one_that_fails(guest: Guest) -> None:
    """What is no agent is refused; one that does not come up goes again."""
    before, pid = guest.sh(f"stat -c %i {BINARY}"), guest.agent_pid()
    refused = guest.run([BINARY, "replace", "/bin/true"], check=False)
    assert refused.returncode == 1
    assert "not a trove-guestagent" in refused.stderr
    assert guest.agent_pid() == pid

    for dies in ("", "systemd-notify --ready; sleep 1"):
        guest.sh("cat > /root/impostor && chmod 755 /root/impostor", IMPOSTOR.format(BINARY, dies))
        failed = guest.run([BINARY, "replace", "/root/impostor"], check=False, timeout=180)
        assert failed.returncode == 1, failed
        assert "this one does not work" in failed.stdout, failed
        assert guest.sh(f"stat -c %i {BINARY}") == before
    assert len(event(guest, "agent_not_replaced")) == 2
    assert guest.sh("ls -A /usr/local/bin").split() == [
        "trove-guestagent",
        "trove-guestagent.previous",
    ]


def event(guest: Guest, name: str) -> list[dict[str, str]]:
    """The journal's entries of one of the catalogue's events."""
    wanted = EVENTS[name]
    guest.run(["journalctl", "--sync"])
    return [entry for entry in guest.journal(None) if entry.get("MESSAGE_ID") == wanted]


def test_journal_has_events_with_explanations(instance: Instance) -> None:
    """What tools wait for has ids and fields, and `journalctl -x` explains it."""
    guest = instance.guest
    for name in ("agent_started", "listening", "instance_prepared", "status_reported"):
        entries = event(guest, name)
        assert entries, name
        assert all(entry["_SYSTEMD_UNIT"] == AGENT_UNIT for entry in entries)
    assert "healthy" in {entry["TROVE_STATUS"] for entry in event(guest, "status_reported")}
    (prepared,) = event(guest, "instance_prepared")
    assert prepared["TROVE_METHOD"] == "prepare"
    assert prepared["TROVE_REQUEST_ID"].startswith("req-")
    guest.run(["journalctl", "--update-catalog"])
    wanted = f"MESSAGE_ID={EVENTS['status_reported']}"
    text = guest.sh(f"journalctl --no-pager -x -u {AGENT_UNIT} {wanted}")
    assert "The control plane was told that the database is healthy" in text


# systemd's measure, in tenths: 100 is a unit without any protection.
EXPOSURE = {"agent": 55, "server": 21}


def test_units_are_confined(instance: Instance) -> None:
    """systemd's score stays where it is, and the running processes have no more."""
    guest = instance.guest
    for unit, limit in (
        (AGENT_UNIT, EXPOSURE["agent"]),
        (instance.product.unit, EXPOSURE["server"]),
    ):
        argv = ["systemd-analyze", "security", f"--threshold={limit}", "--no-pager"]
        guest.run([*argv, unit])
    agent = process_status(guest, guest.agent_pid())
    server = process_status(guest, server_pid(instance))
    assert (agent["Seccomp"], agent["NoNewPrivs"]) == ("2", "1")
    assert (server["Seccomp"], server["NoNewPrivs"]) == ("2", "1")
    # CAP_NET_RAW, _SYS_MODULE, _SYS_RAWIO, _SYS_BOOT, _SYS_TIME, _MKNOD, _BPF
    for number in (13, 16, 17, 22, 25, 27, 39):
        assert not int(agent["CapBnd"], 16) & 1 << number, number
    assert int(server["CapBnd"], 16) == int(server["CapEff"], 16) == 0


def process_status(guest: Guest, pid: int) -> dict[str, str]:
    """The kernel's view of a process (proc_pid_status(5))."""
    lines = guest.read_file(f"/proc/{pid}/status").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


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
