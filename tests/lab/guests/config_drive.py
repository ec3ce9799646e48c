"""The config drive of a virtual machine: what Nova tells cloud-init."""

from __future__ import annotations

import base64
import fcntl
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from lab import network
from lab.guests.spec import Spec

# The label by which cloud-init finds the drive.
LABEL = "config-2"


def ssh_key(state: Path) -> Path:
    """The lab's key pair; virtual machines let it in."""
    directory = state / "ssh"
    directory.mkdir(exist_ok=True)
    key = directory / "id_ed25519"
    with open(directory / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not key.exists():
            argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f"]
            subprocess.run([*argv, str(key)], check=True)
    return key


def make(path: Path, spec: Spec, state: Path) -> None:
    """Write the drive's ISO image."""
    public = ssh_key(state).with_suffix(".pub").read_text().strip()
    documents = {
        "meta_data.json": json.dumps(
            {
                "uuid": spec.id,
                "name": spec.name,
                "hostname": spec.name.lower(),
                "launch_index": 0,
                "availability_zone": "nova",
                "public_keys": {"lab": public},
            }
        ),
        "network_data.json": json.dumps(_network_data(spec)),
        "user_data": base64.b64decode(spec.user_data).decode(),
    }
    with tempfile.TemporaryDirectory() as directory:
        latest = Path(directory) / "openstack/latest"
        latest.mkdir(parents=True)
        for name, content in documents.items():
            (latest / name).write_text(content)
        argv = ["xorriso", "-as", "mkisofs", "-quiet", "-rational-rock", "-joliet"]
        subprocess.run([*argv, "-V", LABEL, "-o", str(path), directory], check=True)


def _network_data(spec: Spec) -> dict[str, Any]:
    links, networks = [], []
    for position, nic in enumerate(spec.nics):
        identity = f"tap{position}"
        links.append(
            {
                "id": identity,
                "vif_id": identity,
                "type": "ovs",
                "mtu": 1500,
                "ethernet_mac_address": nic.mac,
            }
        )
        routes = []
        if position == 0:
            gateway = nic.segment.gateway
            routes = [{"network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": gateway}]
        networks.append(
            {
                "id": f"network{position}",
                "network_id": nic.segment.name,
                "type": "ipv4",
                "link": identity,
                "ip_address": nic.address,
                "netmask": str(nic.segment.network.netmask),
                "routes": routes,
            }
        )
    services = [{"type": "dns", "address": network.LAB_ADDRESS}]
    return {"links": links, "networks": networks, "services": services}
