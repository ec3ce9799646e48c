"""What the suites of the second day do over and over, for any datastore.

Groups, flavors, rebuilds and upgrades are asked for with the real client.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from backups.steps import Owner
from lab import settings
from lab.clients.trove import Json
from lab.cloud.glance import images_of
from lab.lab import Lab
from lab.waiting import eventually
from scenarios.conftest import DATABASE, PASSWORD, USER

# A rebuild is a boot, and Trove looks at its end every few seconds.
LIMIT = 180.0 * settings.patience()
# Flavors: what instances are made with, and twice as much of everything.
SMALL, LARGE = "2", "3"


def show(owner: Owner, parameter: str) -> str:
    """A parameter as the tenant sees it, in a session of its own."""
    client = owner.login(USER, PASSWORD, DATABASE)
    return client.execute(owner.product.show.format(parameter))[0][0]


def server(owner: Owner) -> str:
    """The server's process."""
    return owner.guest.unit(owner.product.unit)["MainPID"]


def status(owner: Owner) -> str:
    return owner.trove.instance(owner.id)["status"]


def restart(owner: Owner) -> None:
    """Another process of the server, asked for through the API."""
    before = server(owner)
    owner.trove.restart(owner.id)
    eventually(lambda: server(owner) not in (before, "0"), 60)
    owner.trove.wait_active(owner.id)


def stop(owner: Owner) -> None:
    """The server is down, as Trove has it before it takes the guest away."""
    owner.lab.rpc(owner.id).call("stop_db", version="1.1")
    unit = owner.product.unit
    eventually(lambda: owner.guest.unit(unit)["ActiveState"] == "inactive")


class Group:
    """A configuration group."""

    def __init__(self, owner: Owner, values: Json) -> None:
        self._owner = owner
        version = owner.trove.instance(owner.id)["datastore"]["version"]
        shown = owner.lab.openstack().json(
            *("database", "configuration", "create", f"g-{uuid.uuid4().hex[:6]}"),
            json.dumps(values),
            *("--datastore", owner.datastore, "--datastore-version", version),
        )
        self.id = shown["id"]

    def _configuration(self, *arguments: str) -> None:
        self._owner.lab.openstack().run("database", "configuration", *arguments)

    def attach(self) -> None:
        self._configuration("attach", self._owner.id, self.id)

    def detach(self) -> None:
        self._configuration("detach", self._owner.id)

    def patch(self, values: Json) -> None:
        """Add values or change them."""
        self._configuration("parameter", "set", self.id, json.dumps(values))

    def replace(self, values: Json) -> None:
        """Replace all values."""
        self._configuration("set", self.id, json.dumps(values))

    def remove(self) -> None:
        self._configuration("delete", self.id)


def rebuild(owner: Owner) -> None:
    """A new root disk of the next image of the same series."""
    marker = "/root/of-the-old-disk"
    owner.guest.sh(f"touch {marker}")
    version = owner.trove.instance(owner.id)["datastore"]["version"]
    datastore = settings.versions().datastore(owner.datastore, version)
    admin = owner.lab.openstack("admin")
    admin.run("database", "instance", "rebuild", owner.id, images_of(datastore)[1])

    def is_new() -> bool:
        guest = owner.guest
        # A guest that is going down may not answer any more.
        return guest.running() and guest.sh(f"ls {marker}", check=False, timeout=5) == ""

    eventually(is_new, LIMIT)
    owner.trove.wait_active(owner.id, timeout=LIMIT)


def upgrade(owner: Owner, version: str) -> None:
    """Ask for another datastore version."""
    owner.lab.openstack().run("database", "instance", "upgrade", owner.id, version)


def register(lab: Lab, name: str, number: str, datastore: settings.Datastore) -> None:
    """Offer a version that no image has."""
    version = {
        "datastore_name": datastore.name,
        "datastore_manager": datastore.name,
        "name": name,
        "version": number,
        "image": images_of(datastore)[0],
        "active": True,
        "default": False,
    }
    lab.trove("admin").request("POST", "/mgmt/datastore-versions", {"version": version})


def refused(owner: Owner, version: str, words: str) -> str:
    """An upgrade that must fail: the user sees an error, the log says why, and
    the server is what it was. What the log says."""
    before = server(owner)
    upgrade(owner, version)
    told = owner.guest.wait_message(words, LIMIT)
    owner.trove.wait_status(owner.id, "ERROR", timeout=LIMIT, fatal=())
    assert server(owner) == before
    assert owner.told() == {"created"}
    action = {"reset-task-status": {}}
    admin = owner.lab.trove("admin")
    admin.request("POST", f"/mgmt/instances/{owner.id}/action", action)
    owner.trove.wait_active(owner.id)
    return told


def resize(owner: Owner, flavor: str) -> None:
    """Ask for another flavor and wait for the guest's new life."""
    before = owner.guest.leader()
    client = owner.lab.openstack()
    client.run("database", "instance", "resize", "flavor", owner.id, flavor)
    eventually(lambda: owner.guest.running() and owner.guest.leader() != before, LIMIT)


def wait_flavor(owner: Owner, flavor: str) -> None:
    """Wait until the instance is healthy and has that flavor."""

    def settled() -> bool:
        shown = owner.trove.instance(owner.id)
        return shown["flavor"]["id"] == flavor and shown["status"] in ("ACTIVE", "HEALTHY")

    eventually(settled, LIMIT)
    owner.trove.wait_active(owner.id, timeout=LIMIT)


@contextmanager
def refusing_once(owner: Owner) -> Iterator[None]:
    """The next start of the server fails, and no other."""
    guest, refuse = owner.guest, f"{owner.product.mount_point}/data/refuse-start"
    directory = f"/etc/systemd/system/{owner.product.unit}.d"
    drop_in = (
        f"[Service]\nExecStartPre=/bin/sh -c 'if test -e {refuse}; then rm {refuse}; exit 1; fi'\n"
    )
    guest.sh(f"mkdir -p {directory}")
    guest.run(["tee", f"{directory}/refuse.conf"], input=drop_in)
    guest.sh(f"systemctl daemon-reload && touch {refuse} && chown database: {refuse}")
    yield
    guest.sh(f"rm -r {directory} && systemctl daemon-reload")
