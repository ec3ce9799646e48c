"""Backups in Trove's REST API; the caller must be inside the lab's network."""

from __future__ import annotations

import time
from typing import Any

from lab.clients.trove import ApiError, Json, TroveClient


class BackupFailed(RuntimeError):
    """A backup reached a state that it does not leave by itself."""


class BackupClient:
    """The backups of one account."""

    def __init__(self, trove: TroveClient) -> None:
        self._trove = trove

    def create(
        self,
        name: str,
        instance_id: str,
        *,
        parent: str | None = None,
        container: str | None = None,
        **more: Any,
    ) -> str:
        """Ask for a backup, an incremental one with `parent`; its id."""
        backup = {"name": name, "instance": instance_id, **more}
        if parent is not None:
            backup |= {"parent_id": parent, "incremental": 1}
        if container is not None:
            backup["swift_container"] = container
        answer = self._trove.request("POST", "/backups", {"backup": backup})
        return answer["backup"]["id"]

    def adopt(self, name: str, location: str, datastore: str, size: float = 0.1) -> str:
        """Make a backup known that another Trove has made; its id.

        Trove 26 fails to for large objects: it records their checksum with the
        quotes that Swift puts around it, which does not fit.
        """
        remote = {
            "remote_location": location,
            "local_datastore_version_id": self.version_id(datastore),
            "size": size,
        }
        body = {"backup": {"name": name, "restore_from": remote}}
        return self._trove.request("POST", "/backups", body)["backup"]["id"]

    def version_id(self, datastore: str) -> str:
        """The datastore's default version."""
        answer = self._trove.request("GET", f"/datastores/{datastore}")
        return answer["datastore"]["default_version"]

    def all(self, instance_id: str | None = None) -> list[Json]:
        """All backups, or those of one instance."""
        query = f"?instance_id={instance_id}" if instance_id else ""
        return self._trove.request("GET", f"/backups{query}")["backups"]

    def show(self, backup_id: str) -> Json:
        return self._trove.request("GET", f"/backups/{backup_id}")["backup"]

    def wait(self, backup_id: str, *, timeout: float = 180.0) -> Json:
        """Wait until the backup is COMPLETED."""
        backup = self.wait_end(backup_id, timeout=timeout)
        if backup["status"] != "COMPLETED":
            instance = self._trove.instance(backup["instance_id"])
            raise BackupFailed(f"{backup['status']}: {instance.get('fault')}")
        return backup

    def wait_end(self, backup_id: str, *, timeout: float = 180.0) -> Json:
        """Wait until the backup has a state it keeps, and return it."""
        deadline = time.monotonic() + timeout
        while True:
            backup = self.show(backup_id)
            if backup["status"] not in ("NEW", "BUILDING", "SAVING"):
                return backup
            if time.monotonic() > deadline:
                raise TimeoutError(f"backup {backup_id} is {backup['status']}")
            time.sleep(0.25)

    def delete(self, backup_id: str) -> None:
        self._trove.request("DELETE", f"/backups/{backup_id}")

    def wait_deleted(self, backup_id: str, *, timeout: float = 60.0) -> None:
        """Wait until the API does not know the backup any more."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                backup = self.show(backup_id)
            except ApiError as error:
                if error.status == 404:
                    return
                raise
            if time.monotonic() > deadline:
                raise TimeoutError(f"backup {backup_id} is {backup['status']}")
            time.sleep(0.25)
