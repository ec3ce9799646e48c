"""What the suites of the second day do over and over."""

from __future__ import annotations

import uuid
from typing import Any

from backups.steps import Owner
from lab import settings
from lab.clients.trove import Json
from lab.cloud.glance import images_of
from lab.waiting import eventually
from scenarios.conftest import DATABASE, PASSWORD, USER

# A rebuild is a boot, and Trove looks at its end every few seconds.
LIMIT = 180.0


def show(owner: Owner, parameter: str) -> str:
    """A parameter as the tenant sees it, in a session of its own."""
    client = owner.login(USER, PASSWORD, DATABASE)
    return client.execute(f"show {parameter}")[0][0]


class Group:
    """A configuration group."""

    def __init__(self, owner: Owner, values: Json) -> None:
        self._owner = owner
        version = owner.trove.instance(owner.id)["datastore"]["version"]
        datastore = {"type": owner.datastore, "version": version}
        body = {"name": f"g-{uuid.uuid4().hex[:6]}", "values": values}
        answer = self._request("POST", "", {**body, "datastore": datastore})
        self.id = answer["configuration"]["id"]

    def _request(self, method: str, path: str, body: Json) -> Any:
        path = f"/configurations{path}"
        return self._owner.trove.request(method, path, {"configuration": body})

    def attach(self) -> None:
        self._modify({"configuration": self.id})

    def detach(self) -> None:
        self._modify({})

    def _modify(self, instance: Json) -> None:
        path = f"/instances/{self._owner.id}"
        self._owner.trove.request("PUT", path, {"instance": instance})

    def patch(self, values: Json) -> None:
        """Add values or change them."""
        self._request("PATCH", f"/{self.id}", {"values": values})

    def replace(self, values: Json) -> None:
        """Replace all values."""
        self._request("PUT", f"/{self.id}", {"values": values})

    def remove(self) -> None:
        self._owner.trove.request("DELETE", f"/configurations/{self.id}")


def rebuild(owner: Owner) -> None:
    """A new root disk of the next image of the same series."""
    marker = "/root/of-the-old-disk"
    owner.guest.sh(f"touch {marker}")
    version = owner.trove.instance(owner.id)["datastore"]["version"]
    datastore = settings.versions().datastore(owner.datastore, version)
    action = {"rebuild": {"image_id": images_of(datastore)[1]}}
    admin = owner.lab.trove("admin")
    admin.request("POST", f"/mgmt/instances/{owner.id}/action", action)

    def is_new() -> bool:
        guest = owner.guest
        return guest.running() and guest.sh(f"ls {marker}", check=False) == ""

    eventually(is_new, LIMIT)
    owner.trove.wait_active(owner.id, timeout=LIMIT)


def upgrade(owner: Owner, version: str) -> None:
    """Ask for another datastore version."""
    instance = {"datastore_version": version}
    owner.trove.request("PATCH", f"/instances/{owner.id}", {"instance": instance})
