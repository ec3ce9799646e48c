"""Block storage v3: volumes as sparse files; snapshots are beside this file."""

from __future__ import annotations

import uuid
from typing import Any

from lab.cloud.cinder_snapshots import CinderSnapshots
from lab.cloud.http import HttpError, Request, Response, route
from lab.cloud.state import now
from lab.guests import volumes

VOLUME_TYPE = "lvmdriver-1"


class Cinder(CinderSnapshots):
    """Volumes are ready when the request returns: a file is made at once."""

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
        minimum = self.source(source)["size"] if source else 1
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

    @route("GET", "/v3/{_project}/volumes/{volume_id}")
    def show(self, _request: Request, _project: str, volume_id: str) -> Response:
        return Response(200, {"volume": self.volume(volume_id)})

    @route("DELETE", "/v3/{_project}/volumes/{volume_id}")
    def delete(self, _request: Request, _project: str, volume_id: str) -> Response:
        if self.volume(volume_id)["status"] == "in-use":
            raise HttpError(
                400, "Volume status must be available or error, but is in-use."
            )
        if self.snapshots_of(volume_id):
            raise HttpError(
                400,
                "Invalid volume: Volume status must be available or error and must "
                "not have snapshots.",
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
        for attachment in volume["attachments"]:
            self.extended(attachment["server_id"], volume["id"])
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
