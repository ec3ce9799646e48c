"""The lab keeps its own promises: what comes up goes away without a trace."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

from lab import network
from lab.cgroups import Cgroup
from lab.guests import volumes
from lab.lab import Lab
from lab.progress import Progress


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


def test_machine_keeps_its_network() -> None:
    """The lab's addresses exist in its own namespace only."""
    output = subprocess.run(
        ["ip", "-brief", "link"], check=True, capture_output=True, text=True
    ).stdout
    for segment in (network.MANAGEMENT, network.USER):
        assert segment.bridge not in output
