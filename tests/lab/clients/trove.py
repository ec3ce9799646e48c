"""Trove's REST API as a user of the cloud sees it.

Plain requests and plain dictionaries: a test reads what the wire carries.
The calling thread must be inside the lab's network.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import requests

from lab.clients import identity
from lab.cloud.keystone import ACCOUNTS, PROJECTS
from lab.cloud.neutron import NETWORK_IDS
from lab.controlplane.config import API
from lab.network import USER

Json = dict[str, Any]


class ApiError(RuntimeError):
    """An answer of 400 or above; `message` is what the user would read."""

    def __init__(self, status: int, body: str, request: str) -> None:
        super().__init__(f"{request}: {status} {body}")
        self.status = status
        self.body = body


class InstanceFailed(RuntimeError):
    """An instance reached a state that it does not leave by itself."""


class TroveClient:
    """One account's view of the database service."""

    def __init__(self, account: str = "demo", timeout: float = 60.0) -> None:
        self._account = ACCOUNTS[account]
        self._timeout = timeout
        self._session = requests.Session()
        self._base = f"{API}/v1.0/{PROJECTS[self._account.project]}"

    @property
    def token(self) -> str:
        """A token of the account, the same one every time."""
        if "X-Auth-Token" not in self._session.headers:
            self._session.headers["X-Auth-Token"] = identity.token(self._account)
        return str(self._session.headers["X-Auth-Token"])

    def request(self, method: str, path: str, body: Json | None = None) -> Any:
        """Any request below the project's URL; the decoded answer."""
        assert self.token
        answer = self._session.request(
            method, self._base + path, json=body, timeout=self._timeout
        )
        if answer.status_code >= 400:
            raise ApiError(answer.status_code, answer.text, f"{method} {path}")
        return answer.json() if answer.content else None

    # Instances

    def create_instance(
        self,
        name: str,
        datastore: str,
        version: str | None = None,
        *,
        flavor: str = "2",
        size: int = 1,
        databases: Sequence[str] = (),
        users: Sequence[Json] = (),
        **more: Any,
    ) -> Json:
        """Ask for an instance. `size` in GiB; `users` as the API takes them."""
        instance = {
            "name": name,
            "flavorRef": flavor,
            "volume": {"size": size},
            "databases": [{"name": database} for database in databases],
            "users": list(users),
            "datastore": {"type": datastore},
            "nics": [{"net-id": NETWORK_IDS[USER.name]}],
            **more,
        }
        if version is not None:
            instance["datastore"]["version"] = version
        return self.request("POST", "/instances", {"instance": instance})["instance"]

    def instances(self) -> list[Json]:
        return self.request("GET", "/instances")["instances"]

    def instance(self, instance_id: str) -> Json:
        """An instance in detail."""
        return self.request("GET", f"/instances/{instance_id}")["instance"]

    def wait_status(
        self,
        instance_id: str,
        *wanted: str,
        timeout: float = 180.0,
        fatal: Sequence[str] = ("ERROR", "FAILED"),
    ) -> Json:
        """Wait until the instance's status is one of `wanted`."""
        deadline = time.monotonic() + timeout
        while True:
            instance = self.instance(instance_id)
            if instance["status"] in wanted:
                return instance
            if instance["status"] in fatal:
                raise InstanceFailed(f"{instance['status']}: {instance.get('fault')}")
            if time.monotonic() > deadline:
                status = f"{instance['status']}/{instance.get('operating_status')}"
                raise TimeoutError(f"{instance_id} is {status} after {timeout} s")
            time.sleep(0.25)

    def wait_active(self, instance_id: str, timeout: float = 180.0) -> Json:
        """Wait until the instance is ACTIVE and its database healthy."""
        deadline = time.monotonic() + timeout
        while True:
            left = max(1.0, deadline - time.monotonic())
            instance = self.wait_status(instance_id, "ACTIVE", "HEALTHY", timeout=left)
            if instance.get("operating_status", "HEALTHY") == "HEALTHY":
                return instance
            if time.monotonic() > deadline:
                raise TimeoutError(f"{instance_id} is {instance['operating_status']}")
            time.sleep(0.25)

    def address(self, instance: Json) -> str:
        """Where users reach the instance, as the API tells them."""
        return next(
            a["address"] for a in instance["addresses"] if a["type"] == "private"
        )

    def delete_instance(self, instance_id: str) -> None:
        self.request("DELETE", f"/instances/{instance_id}")

    def force_delete_instance(self, instance_id: str) -> None:
        """Delete an instance in any state, as `instance force delete` does."""
        self.action(instance_id, {"reset_status": {"force_delete": True}})
        self.delete_instance(instance_id)

    def wait_deleted(self, instance_id: str, timeout: float = 120.0) -> None:
        """Wait until the API does not know the instance any more."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                instance = self.instance(instance_id)
            except ApiError as error:
                if error.status == 404:
                    return
                raise
            if instance["status"] in ("ERROR", "FAILED"):
                raise InstanceFailed(f"{instance['status']}: {instance.get('fault')}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"{instance_id} is {instance['status']}")
            time.sleep(0.25)

    def action(self, instance_id: str, action: Json) -> Any:
        """POST an action such as `{"restart": {}}`."""
        return self.request("POST", f"/instances/{instance_id}/action", action)

    def restart(self, instance_id: str) -> None:
        self.action(instance_id, {"restart": {}})

    def resize_volume(self, instance_id: str, size: int) -> None:
        self.action(instance_id, {"resize": {"volume": {"size": size}}})

    def resize_flavor(self, instance_id: str, flavor: str) -> None:
        self.action(instance_id, {"resize": {"flavorRef": flavor}})

    # Replicas

    def create_replica(self, name: str, source_id: str, count: int = 1) -> Json:
        """Ask for replicas of an instance; the answer is the first of them."""
        instance = {
            "name": name,
            "replica_of": source_id,
            "replica_count": count,
            "nics": [{"net-id": NETWORK_IDS[USER.name]}],
        }
        return self.request("POST", "/instances", {"instance": instance})["instance"]

    def replicas(self, instance_id: str) -> list[str]:
        """The ids of an instance's replicas."""
        shown = self.instance(instance_id).get("replicas", [])
        return [replica["id"] for replica in shown]

    def source(self, instance_id: str) -> str | None:
        """The id of the instance that this one is a replica of."""
        shown = self.instance(instance_id).get("replica_of")
        return shown["id"] if shown else None

    def detach_replica(self, instance_id: str) -> None:
        body = {"instance": {"replica_of": None}}
        self.request("PATCH", f"/instances/{instance_id}", body)

    def promote_replica(self, instance_id: str) -> None:
        """Make a replica the source, while the source lives."""
        self.action(instance_id, {"promote_to_replica_source": {}})

    def eject_source(self, instance_id: str) -> None:
        """Take a dead source out of its replicas' lives."""
        self.action(instance_id, {"eject_replica_source": {}})

    # Databases

    def create_databases(self, instance_id: str, *databases: Json) -> None:
        body = {"databases": list(databases)}
        self.request("POST", f"/instances/{instance_id}/databases", body)

    def databases(self, instance_id: str, query: str = "") -> list[str]:
        """Names; `query` such as `?limit=2&marker=x`."""
        answer = self.request("GET", f"/instances/{instance_id}/databases{query}")
        return [database["name"] for database in answer["databases"]]

    def delete_database(self, instance_id: str, name: str) -> None:
        self.request("DELETE", f"/instances/{instance_id}/databases/{name}")

    # Users

    def create_users(self, instance_id: str, *users: Json) -> None:
        body = {"users": list(users)}
        self.request("POST", f"/instances/{instance_id}/users", body)

    def users(self, instance_id: str, query: str = "") -> list[Json]:
        answer = self.request("GET", f"/instances/{instance_id}/users{query}")
        return answer["users"]

    def user(self, instance_id: str, name: str) -> Json:
        """`name`, or `name@host` percent-encoded, as in the URL."""
        return self.request("GET", f"/instances/{instance_id}/users/{name}")["user"]

    def update_user(self, instance_id: str, name: str, user: Json) -> None:
        """Change name, password or host of a user."""
        self.request("PUT", f"/instances/{instance_id}/users/{name}", {"user": user})

    def change_passwords(self, instance_id: str, *users: Json) -> None:
        body = {"users": list(users)}
        self.request("PUT", f"/instances/{instance_id}/users", body)

    def delete_user(self, instance_id: str, name: str) -> None:
        self.request("DELETE", f"/instances/{instance_id}/users/{name}")

    def grant(self, instance_id: str, name: str, *databases: str) -> None:
        body = {"databases": [{"name": database} for database in databases]}
        self.request("PUT", f"/instances/{instance_id}/users/{name}/databases", body)

    def revoke(self, instance_id: str, name: str, database: str) -> None:
        path = f"/instances/{instance_id}/users/{name}/databases/{database}"
        self.request("DELETE", path)

    def access(self, instance_id: str, name: str) -> list[str]:
        """Databases a user may use."""
        path = f"/instances/{instance_id}/users/{name}/databases"
        return [database["name"] for database in self.request("GET", path)["databases"]]

    # Root

    def enable_root(self, instance_id: str, password: str | None = None) -> Json:
        """Enable root; the answer has name and password."""
        body = {"password": password} if password else None
        return self.request("POST", f"/instances/{instance_id}/root", body)["user"]

    def disable_root(self, instance_id: str) -> None:
        self.request("DELETE", f"/instances/{instance_id}/root")

    def root_enabled(self, instance_id: str) -> bool:
        return self.request("GET", f"/instances/{instance_id}/root")["rootEnabled"]
