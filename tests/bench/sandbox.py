"""A private view of this machine in which an agent can start for real.

Both agents create an account, look for the data volume and keep state before
or while they connect. They shall do that work, and the machine shall not
change. In a mount namespace of our own, /etc, /run and /var/lib are overlays
whose changes go to memory, and the volume is a file system in a file there. Its
loop device and all mounts vanish with the last process of the namespace.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from lab import rabbitmq

from bench.lean_client import EXCHANGE, Instance

OVERLAYS = (Path("/etc"), Path("/run"), Path("/var/lib"))
# Upstream's default for MySQL.
MOUNT_POINT = Path("/var/lib/mysql")
CONFIG = Path("/etc/trove")
# An oslo.config file for a client on the control plane's side.
CLIENT_CONFIG = CONFIG / "client.conf"
VOLUME_MIB = 64


def _run(*argv: str | Path) -> str:
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{argv[0]}: {done.stderr.strip()}")
    return done.stdout.strip()


def prepare(memory: Path) -> None:
    """Mount everything below the directory `memory`.

    Must be called in a mount namespace that is private to the benchmark.
    """
    memory.mkdir(parents=True, exist_ok=True)
    _run("mount", "-t", "tmpfs", "-o", "size=256M", "tmpfs", memory)
    for directory in OVERLAYS:
        layers = memory / directory.name
        upper, work = layers / "upper", layers / "work"
        upper.mkdir(parents=True)
        work.mkdir()
        options = f"lowerdir={directory},upperdir={upper},workdir={work}"
        _run("mount", "-t", "overlay", "-o", options, "overlay", directory)
    _mount_volume(memory / "volume")
    CONFIG.mkdir(exist_ok=True)
    CLIENT_CONFIG.write_text(_transport())


def _mount_volume(image: Path) -> None:
    """Make the data volume and mount it."""
    with open(image, "xb") as file:
        file.truncate(VOLUME_MIB << 20)
    _run("mkfs.ext4", "-q", image)
    MOUNT_POINT.mkdir(exist_ok=True)
    # mount(8) sets the loop device up so that unmounting frees it.
    _run("mount", "-o", "loop", image, MOUNT_POINT)


def _transport() -> str:
    return (
        "[DEFAULT]\n"
        f"transport_url = {rabbitmq.transport_url()}\n"
        f"control_exchange = {EXCHANGE}\n"
    )


def configure(name: str, instance: Instance) -> Path:
    """Write the files that Trove injects into a guest; their directory."""
    device = _run("findmnt", "-n", "-o", "SOURCE", "--target", MOUNT_POINT)
    directory = CONFIG / f"{name}.d"
    directory.mkdir()
    (directory / "guest_info.conf").write_text(
        "[DEFAULT]\n"
        f"guest_id = {instance.id}\n"
        "datastore_manager = mysql\n"
        "datastore_version = 8.4.6\n"
        f"instance_rpc_encr_key = {instance.key}\n"
    )
    (directory / "trove-guestagent.conf").write_text(
        _transport() + f"[mysql]\ndevice_path = {device}\n"
    )
    return directory
