"""`python -m lab.cloud CONFIG.json`: serve the cloud until it is stopped."""

from __future__ import annotations

import json
import signal
import sys
import threading
from pathlib import Path

from lab.cloud.cinder import Cinder
from lab.cloud.compute import Compute
from lab.cloud.glance import Glance
from lab.cloud.http import Cloud
from lab.cloud.keystone import Keystone
from lab.cloud.neutron import Neutron
from lab.cloud.nova import Nova
from lab.cloud.state import State


def main() -> None:
    config = json.loads(Path(sys.argv[1]).read_text())
    directory = Path(config["state"])
    base = f"http://{config['address']}"
    state = State(directory / "cloud.json")
    binary = Path(config["binary"]) if config["binary"] else None
    compute = Compute(directory, config["lab"], binary)
    cinder = Cinder(base, state, directory / "volumes")
    cinder.extended = compute.extended
    neutron = Neutron(base, state)
    nova = Nova(base, state, compute, cinder, neutron, Path(config["trees"]))
    endpoints = {
        "identity": f"{base}/identity",
        "compute": f"{base}/compute/v2.1",
        "volumev3": f"{base}/volume/v3/{{project_id}}",
        "block-storage": f"{base}/volume/v3/{{project_id}}",
        "network": f"{base}/networking",
        "image": f"{base}/image",
        "database": f"{config['database_url']}/v1.0/{{project_id}}",
        "object-store": f"{config['objects_url']}{{project_id}}",
    }
    keystone = Keystone(base, endpoints)
    services = [keystone, nova, cinder, neutron, Glance(base)]
    cloud = Cloud((config["address"], 80), services, keystone.find)
    # shutdown() must not be called from the thread that serves.
    stop = threading.Thread(target=cloud.shutdown)
    signal.signal(signal.SIGTERM, lambda *_: stop.start())
    cloud.serve_forever()


main()
