"""Block storage v3: volumes and snapshots as sparse files."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

from lab.cloud.http import HttpError, Request, Response, Service, route
from lab.cloud.state import Record, State, now
from lab.guests import volumes

VOLUME_TYPE = "lvmdriver-1"


class Cinder(Service):
    """Volumes are ready when the request returns: a file is made at once."""

    prefix = "/volume"

    def __init__(self, base: str, state: State, directory: Path) -> None:
        super().__init__()
        self._base = base + self.prefix
        self._state = state
        self._directory = directory

    def error(self, status: int, message: str) -> Response:
        kind = {404: "itemNotFound", 401: "unauthorized", 409: "conflictingRequest"}
        body = {"message": message, "code": status}
        return Response(status, {kind.get(status, "badRequest"): body})

    def path(self, volume_id: str) -> Path:
        """The file behind a volume or a snapshot."""
        return self._directory / f"{volume_id}.img"

    @route("GET", "", public=True)
    @route("GET", "/v3", public=True)
    def versions(self, _request: Request) -> Response:
        version = {
            "id": "v3.0",
            "status": "CURRENT",
            "version": "3.71",
            "min_version": "3.0",
            "updated": "2023-08-31T00:00:00Z",
            "links": [{"rel": "self", "href": f"{self._base}/v3/"}],
            "media-types": [],
        }
        return Response(200, {"versions": [version]})

    @route("POST", "/v3/{project}/volumes")
    def create(self, request: Request, project: str) -> Response:
        body = request.json()["volume"]
        volume_id = str(uuid.uuid4())
        source = body.get("snapshot_id")
        if source is not None and source not in self._state["snapshots"]:
            raise HttpError(404, f"Snapshot {source} could not be found.")
        minimum = self._state["snapshots"][source]["size"] if source else 1
        size = int(body.get("size") or minimum)
        if size < minimum:
            raise HttpError(
                400, f"Volume size {size}GB cannot be smaller than {minimum}GB."
            )
        if source:
            volumes.copy(self.path(source), self.path(volume_id))
            volumes.extend(self.path(volume_id), size)
        else:
            volumes.create(self.path(volume_id), size)
        record = {
            "id": volume_id,
            "name": body.get("name"),
            "description": body.get("description"),
            "size": size,
            "status": "available",
            "attachments": [],
            "volume_type": body.get("volume_type") or VOLUME_TYPE,
            "snapshot_id": source,
            "availability_zone": body.get("availability_zone") or "nova",
            "metadata": body.get("metadata") or {},
            "created_at": now(),
            "bootable": "false",
            "encrypted": False,
            "multiattach": False,
            "os-vol-tenant-attr:tenant_id": project,
            "links": [],
        }
        with self._state.change():
            self._state["volumes"][volume_id] = record
        return Response(202, {"volume": record})

    @route("GET", "/v3/{_project}/volumes")
    @route("GET", "/v3/{_project}/volumes/detail")
    def index(self, request: Request, _project: str) -> Response:
        return Response(200, {"volumes": self._filter("volumes", request)})

    def _filter(self, table: str, request: Request) -> list[Record]:
        if request.argument("marker"):
            return []  # every list fits on the first page
        rows = self._state.rows(table)
        for key in ("name", "status", "id", "volume_id"):
            if value := request.argument(key):
                rows = [row for row in rows if row.get(key) == value]
        return rows

    @route("GET", "/v3/{_project}/volumes/{volume_id}")
    def show(self, _request: Request, _project: str, volume_id: str) -> Response:
        return Response(200, {"volume": self.volume(volume_id)})

    def volume(self, volume_id: str) -> Record:
        """The record of a volume, or 404."""
        if volume_id not in self._state["volumes"]:
            raise HttpError(404, f"Volume {volume_id} could not be found.")
        return self._state["volumes"][volume_id]

    @route("DELETE", "/v3/{_project}/volumes/{volume_id}")
    def delete(self, _request: Request, _project: str, volume_id: str) -> Response:
        if self.volume(volume_id)["status"] == "in-use":
            raise HttpError(
                400, "Volume status must be available or error, but is in-use."
            )
        self.remove(volume_id)
        return Response(202)

    def remove(self, volume_id: str) -> None:
        """Delete a volume that no guest uses any more."""
        with self._state.change():
            self._state["volumes"].pop(volume_id, None)
        volumes.detach(self.path(volume_id))
        self.path(volume_id).unlink(missing_ok=True)

    @route("POST", "/v3/{_project}/volumes/{volume_id}/action")
    def action(self, request: Request, _project: str, volume_id: str) -> Response:
        volume = self.volume(volume_id)
        body = request.json()
        if "os-extend" not in body:
            raise HttpError(400, f"There is no such action: {next(iter(body), '')}")
        size = int(body["os-extend"]["new_size"])
        if size <= volume["size"]:
            raise HttpError(
                400, f"New size for extend must be greater than {volume['size']}."
            )
        volumes.extend(self.path(volume_id), size)
        with self._state.change():
            volume["size"] = size
        return Response(202)

    def reserve(self, volume_id: str, server_id: str, device: str) -> None:
        """Nova's part: a volume belongs to a server from now on."""
        volume = self.volume(volume_id)
        if volume["status"] != "available":
            raise HttpError(
                400, f"Volume {volume_id} is {volume['status']}, not available."
            )
        attachment = {
            "id": volume_id,
            "volume_id": volume_id,
            "attachment_id": str(uuid.uuid4()),
            "server_id": server_id,
            "device": device,
            "host_name": "lab",
        }
        with self._state.change():
            volume.update(status="in-use", attachments=[attachment])

    def release(self, volume_id: str) -> None:
        """Nova's part: the volume was unplugged."""
        with self._state.change():
            if volume_id in self._state["volumes"]:
                self._state["volumes"][volume_id].update(
                    status="available", attachments=[]
                )

    @route("GET", "/v3/{_project}/types")
    def types(self, _request: Request, _project: str) -> Response:
        return Response(200, {"volume_types": [self._type()]})

    @route("GET", "/v3/{_project}/types/{name}")
    def show_type(self, _request: Request, _project: str, name: str) -> Response:
        if name != VOLUME_TYPE:
            raise HttpError(404, f"Volume type {name} could not be found.")
        return Response(200, {"volume_type": self._type()})

    @staticmethod
    def _type() -> dict[str, Any]:
        public = {"is_public": True, "extra_specs": {}, "description": None}
        return {"id": VOLUME_TYPE, "name": VOLUME_TYPE, **public}

    @route("POST", "/v3/{project}/snapshots")
    def create_snapshot(self, request: Request, project: str) -> Response:
        body = request.json()["snapshot"]
        volume = self.volume(body["volume_id"])
        if volume["status"] == "in-use" and not body.get("force"):
            raise HttpError(400, f"Volume {volume['id']} is in-use.")
        snapshot_id = str(uuid.uuid4())
        volumes.copy(self.path(volume["id"]), self.path(snapshot_id))
        record = {
            "id": snapshot_id,
            "name": body.get("name"),
            "description": body.get("description"),
            "volume_id": volume["id"],
            "size": volume["size"],
            "status": "available",
            "metadata": {},
            "created_at": now(),
            "os-extended-snapshot-attributes:project_id": project,
        }
        with self._state.change():
            self._state["snapshots"][snapshot_id] = record
        return Response(202, {"snapshot": record})

    @route("GET", "/v3/{_project}/snapshots")
    @route("GET", "/v3/{_project}/snapshots/detail")
    def snapshots(self, request: Request, _project: str) -> Response:
        return Response(200, {"snapshots": self._filter("snapshots", request)})

    @route("GET", "/v3/{_project}/snapshots/{snapshot_id}")
    def snapshot(self, _request: Request, _project: str, snapshot_id: str) -> Response:
        if snapshot_id not in self._state["snapshots"]:
            raise HttpError(404, f"Snapshot {snapshot_id} could not be found.")
        return Response(200, {"snapshot": self._state["snapshots"][snapshot_id]})

    @route("DELETE", "/v3/{_project}/snapshots/{snapshot_id}")
    def delete_snapshot(
        self, _request: Request, _project: str, snapshot_id: str
    ) -> Response:
        with self._state.change():
            if self._state["snapshots"].pop(snapshot_id, None) is None:
                raise HttpError(404, f"Snapshot {snapshot_id} could not be found.")
        self.path(snapshot_id).unlink(missing_ok=True)
        return Response(202)
