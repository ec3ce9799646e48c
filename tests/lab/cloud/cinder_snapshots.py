"""Snapshots of volumes, a part of block storage v3: plain copies.

As Cinder has it, a snapshot is `creating` at first and `available` when its
data is safe, and a project may have so many of them and no more.
"""

from __future__ import annotations

import threading
import uuid

from lab.cloud.cinder_base import CinderBase
from lab.cloud.http import HttpError, Request, Response, route
from lab.cloud.state import Record, now
from lab.guests import volumes

# Cinder's own default.
QUOTA = 10


class CinderSnapshots(CinderBase):
    """Create, show, delete; and the quota."""

    def _snapshot(self, snapshot_id: str) -> Record:
        if snapshot_id not in self._state["snapshots"]:
            raise HttpError(404, f"Snapshot {snapshot_id} could not be found.")
        return self._state["snapshots"][snapshot_id]

    def source(self, snapshot_id: str) -> Record:
        """A snapshot that a volume can be made of."""
        snapshot = self._snapshot(snapshot_id)
        if snapshot["status"] != "available":
            status = snapshot["status"]
            raise HttpError(
                400,
                "Invalid snapshot: Originating snapshot status must be one of "
                f"'available' values, but is '{status}'.",
            )
        return snapshot

    def snapshots_of(self, volume_id: str) -> list[Record]:
        """As long as there are any, the volume cannot be deleted."""
        rows = self._state.rows("snapshots")
        return [row for row in rows if row["volume_id"] == volume_id]

    @route("POST", "/v3/{project}/snapshots")
    def create_snapshot(self, request: Request, project: str) -> Response:
        body = request.json()["snapshot"]
        volume = self.volume(body["volume_id"])
        if volume["status"] == "in-use" and not body.get("force"):
            raise HttpError(
                400,
                f"Invalid volume: Volume {volume['id']} status must be available, "
                "but current status is: in-use.",
            )
        key = "os-extended-snapshot-attributes:project_id"
        record = {
            "id": str(uuid.uuid4()),
            "name": body.get("name"),
            "description": body.get("description"),
            "volume_id": volume["id"],
            "size": volume["size"],
            "status": "creating",
            "metadata": body.get("metadata") or {},
            "created_at": now(),
            "updated_at": None,
            "os-extended-snapshot-attributes:progress": "0%",
            key: project,
        }
        with self._state.change():
            limit = self._limit(project)
            rows = self._state["snapshots"].values()
            if limit >= 0 and sum(row[key] == project for row in rows) >= limit:
                raise HttpError(
                    413,
                    "SnapshotLimitExceeded: Maximum number of snapshots allowed "
                    f"({limit}) exceeded",
                )
            self._state["snapshots"][record["id"]] = record
        answer = Response(202, {"snapshot": dict(record)})
        threading.Thread(target=self._copy, args=(record,), daemon=True).start()
        return answer

    def _copy(self, record: Record) -> None:
        status = "error"
        try:
            volumes.copy(self.path(record["volume_id"]), self.path(record["id"]))
            status = "available"
        finally:
            with self._state.change():
                record.update(status=status, updated_at=now())

    @route("GET", "/v3/{_project}/snapshots")
    @route("GET", "/v3/{_project}/snapshots/detail")
    def snapshots(self, request: Request, _project: str) -> Response:
        return Response(200, {"snapshots": self._filter("snapshots", request)})

    @route("GET", "/v3/{_project}/snapshots/{snapshot_id}")
    def show_snapshot(
        self, _request: Request, _project: str, snapshot_id: str
    ) -> Response:
        return Response(200, {"snapshot": self._snapshot(snapshot_id)})

    @route("DELETE", "/v3/{_project}/snapshots/{snapshot_id}")
    def delete_snapshot(
        self, _request: Request, _project: str, snapshot_id: str
    ) -> Response:
        with self._state.change():
            if self._snapshot(snapshot_id)["status"] not in ("available", "error"):
                raise HttpError(
                    400,
                    "Invalid snapshot: Volume Snapshot status must be available or "
                    "error.",
                )
            del self._state["snapshots"][snapshot_id]
        self.path(snapshot_id).unlink(missing_ok=True)
        return Response(202)

    def _limit(self, project: str) -> int:
        return self._state["quotas"].get(project, {}).get("snapshots", QUOTA)

    @route("GET", "/v3/{_admin}/os-quota-sets/{project}")
    def quota(self, _request: Request, _admin: str, project: str) -> Response:
        quota = {"id": project, "snapshots": self._limit(project)}
        return Response(200, {"quota_set": quota})

    @route("PUT", "/v3/{_admin}/os-quota-sets/{project}")
    def set_quota(self, request: Request, _admin: str, project: str) -> Response:
        limit = int(request.json()["quota_set"]["snapshots"])
        with self._state.change():
            self._state["quotas"][project] = {"snapshots": limit}
        return Response(200, {"quota_set": {"snapshots": limit}})
