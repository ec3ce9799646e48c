"""What is on an image, and what is not."""

from __future__ import annotations

import subprocess

import pytest

from image.conftest import record
from lab import settings
from lab.fetch.image import Image
from lab.products import PRODUCTS

# Programs of containers, and of upstream's agent.
UNWANTED = ("dockerd", "docker", "containerd", "podman", "pip3", "gcc", "guest-agent-venv")
BINARY = "usr/local/bin/trove-guestagent"


def is_enabled(image: Image, unit: str) -> str:
    argv = ["systemctl", f"--root={image.root}", "is-enabled", unit]
    done = subprocess.run(argv, capture_output=True, text=True)
    return done.stdout.strip() or done.stderr.strip()


def test_agent(image: Image) -> None:
    """The program that was given, with its units, under both of its names."""
    agent = image.root / BINARY
    assert agent.read_bytes() == settings.agent_binary().read_bytes()
    assert agent.stat().st_mode & 0o7777 == 0o755
    assert agent.stat().st_uid == 0
    alias = image.root / "usr/local/bin/guest-agent"
    assert str(alias.readlink()) == "trove-guestagent"
    assert is_enabled(image, "trove-guestagent.service") == "enabled"
    assert is_enabled(image, "guest-agent.service") in ("alias", "enabled")
    catalog = (image.root / "var/lib/systemd/catalog/database").read_bytes()
    assert b"Connection to the message broker lost" in catalog


def test_database(image: Image) -> None:
    """Installed, empty, and asleep until an instance is prepared."""
    assert is_enabled(image, PRODUCTS[image.datastore].unit) == "disabled"
    for unit in ("mysql", "mariadb", "postgresql"):
        assert is_enabled(image, f"{unit}.service") != "enabled", unit
    for data in ("mysql", "postgresql"):
        directory = image.root / "var/lib" / data
        assert not directory.exists() or not list(directory.iterdir())


def test_accounts(image: Image) -> None:
    """Injected files have their owner, with a locked password; the database none."""
    passwd = {
        line.split(":")[0]: line.split(":")
        for line in (image.root / "etc/passwd").read_text().splitlines()
    }
    assert passwd["ubuntu"][2] == "1000"
    assert "database" not in passwd
    assert not any(fields[2] == "1001" for fields in passwd.values())
    for line in (image.root / "etc/shadow").read_text().splitlines():
        assert line.split(":")[1][:1] in ("!", "*"), line.split(":")[0]
    assert not list((image.root / "etc/ssh").glob("ssh_host_*"))


@pytest.mark.parametrize("name", UNWANTED)
def test_unwanted(image: Image, name: str) -> None:
    """No containers, no compiler, no second Python: what cloud-init needs is all."""
    places = ("usr/bin", "usr/sbin", "usr/local/bin", "opt")
    assert not [p for p in places if (image.root / p / name).exists()]


def test_size(image: Image) -> None:
    """Recorded, and a bound that something large cannot slip under."""
    argv = ["du", "--summarize", "--bytes", "--one-file-system", str(image.root)]
    used = int(subprocess.run(argv, check=True, capture_output=True, text=True).stdout.split()[0])
    disk = image.disk.stat().st_size
    record(
        image.datastore,
        server=image.server_version,
        agent_mb=round((image.root / BINARY).stat().st_size / 1e6, 1),
        qcow2_mb=round(disk / 1e6),
        root_mb=round(used / 1e6),
    )
    assert disk < 700e6, f"{disk / 1e6:.0f} MB"
