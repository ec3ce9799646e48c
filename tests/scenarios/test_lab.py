"""The lab keeps its own promises: what comes up goes away without a trace."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

from lab import network
from lab.cgroups import Cgroup
from lab.guests import volumes
from lab.lab import Lab
from lab.progress import Progress
from scenarios.conftest import delete


def test_clean_after_a_crash(tmp_path: Path) -> None:
    """Its daemons killed, a guest left running: `clean` finds everything."""
    lab = Lab(tmp_path / "lab")
    lab.up(progress=Progress())
    try:
        with lab.inside():
            trove = lab.trove()
            created = trove.create_instance("left-behind", "mariadb")
            while not any(guest.running() for guest in lab.guests()):
                trove.wait_status(created["id"], "BUILD")
        guest = lab.guests()[0]
        leader = guest.leader()
        for name in lab.processes.names():
            process = lab.processes.get(name)
            assert process is not None
            process.kill(signal.SIGKILL)
        assert leader.alive() and not lab.running()
    finally:
        lab.clean()
    assert not leader.alive()
    assert network.existing(lab.name) == []
    assert volumes.attached(lab.state) == []
    assert str(lab.state) not in Path("/proc/self/mountinfo").read_text()
    assert Cgroup(lab.name).processes() == []
    assert not lab.state.exists()


def test_several_guests_at_once(lab: Lab) -> None:
    """Instances are built side by side and do not know of each other."""
    trove = lab.trove()
    user = {"name": "u", "password": "p", "databases": [{"name": "d"}]}
    created = {
        trove.create_instance(f"many-{i}", kind, databases=["d"], users=[user])["id"]: (
            i,
            kind,
        )
        for i, kind in enumerate(("mariadb", "mysql", "mariadb"))
    }
    clients = {}
    try:
        for instance_id, (number, kind) in created.items():
            address = trove.address(trove.wait_active(instance_id, timeout=300))
            clients[number] = lab.sql(kind, address, "u", "p", "d")
            clients[number].execute(f"create table t as select {number} as n")
        for number, client in clients.items():
            assert client.execute("select n from t") == [[str(number)]]
        assert len({client.host for client in clients.values()}) == len(created)
    finally:
        for instance_id in created:
            delete(trove, instance_id)


def test_machine_keeps_its_network() -> None:
    """The lab's addresses exist in its own namespace only."""
    # The test itself may be inside the lab's network; who started it is not.
    argv = ["nsenter", f"--target={os.getppid()}", "--net", "ip", "-brief", "link"]
    output = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    for segment in (network.MANAGEMENT, network.USER):
        assert segment.bridge not in output
