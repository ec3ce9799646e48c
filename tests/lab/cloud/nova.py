"""Compute v2.1: servers are guests, with volumes, metadata and tags."""

from __future__ import annotations

import json
import uuid
from typing import Any

from lab.cloud.http import HttpError, Request, Response, Token, route
from lab.cloud.nova_actions import NovaActions
from lab.cloud.nova_base import FLAVORS
from lab.cloud.state import Record, now
from lab.guests.spec import Disk, Spec

POWER_STATES = {"ACTIVE": 1, "VERIFY_RESIZE": 1, "REBOOT": 1, "SHUTOFF": 4}


class Nova(NovaActions):
    """Servers with their actions and volume attachments."""

    @route("GET", "/v2.1/servers")
    @route("GET", "/v2.1/servers/detail")
    def index(self, request: Request) -> Response:
        if request.argument("marker"):
            return Response(200, {"servers": []})
        servers = [self._view(server) for server in self._state.rows("servers")]
        return Response(200, {"servers": servers})

    @route("GET", "/v2.1/servers/{server_id}")
    def show(self, _request: Request, server_id: str) -> Response:
        return Response(200, {"server": self._view(self._server(server_id))})

    def _view(self, server: Record) -> Record:
        flavor = FLAVORS[server["flavor"]]
        plain = ("id", "name", "status", "tenant_id", "user_id", "metadata", "tags")
        attached = [{"id": v, "delete_on_termination": True} for v in server["volumes"]]
        view = {key: server[key] for key in plain}
        if "fault" in server:
            view["fault"] = server["fault"]
        return {
            **view,
            "created": server["created"],
            "updated": server["updated"],
            "image": {"id": server["image"]},
            "key_name": server["key_name"],
            "flavor": {
                "original_name": flavor["name"],
                "ram": flavor["ram"],
                "vcpus": flavor["vcpus"],
                "disk": flavor["disk"],
                "ephemeral": 0,
                "swap": 0,
                "extra_specs": {},
            },
            "addresses": self._neutron.addresses(server["id"]),
            "links": [
                {"rel": "self", "href": f"{self._base}/v2.1/servers/{server['id']}"}
            ],
            "OS-EXT-STS:task_state": server["task"],
            "OS-EXT-STS:vm_state": server["status"].lower(),
            "OS-EXT-STS:power_state": POWER_STATES.get(server["status"], 0),
            "OS-EXT-AZ:availability_zone": "nova",
            "OS-EXT-SRV-ATTR:host": "lab",
            "OS-EXT-SRV-ATTR:hypervisor_hostname": "lab",
            "os-extended-volumes:volumes_attached": attached,
            "hostId": "lab",
            "config_drive": "",
            "accessIPv4": "",
            "accessIPv6": "",
            "progress": 0,
            "description": None,
            "locked": False,
            "security_groups": [],
        }

    @route("POST", "/v2.1/servers")
    def create(self, request: Request) -> Response:
        assert request.token is not None
        body = request.json()["server"]
        server_id = str(uuid.uuid4())
        image = body.get("imageRef") or ""
        tree = self._tree(image)
        flavor = str(body["flavorRef"]).rsplit("/", 1)[-1]
        self._flavor(flavor)
        disks = self._reserve_volumes(server_id, body)
        server = {
            "id": server_id,
            "name": body["name"],
            "status": "BUILD",
            "task": "spawning",
            "tenant_id": request.token.project_id,
            "user_id": request.token.user_id,
            "metadata": body.get("metadata") or {},
            "tags": body.get("tags") or [],
            "created": now(),
            "updated": now(),
            "image": image,
            "key_name": body.get("key_name"),
            "flavor": flavor,
            "volumes": [disk.volume_id for disk in disks],
        }
        with self._state.change():
            self._state["servers"][server_id] = server
        self._compute.console(server_id, "create.json", json.dumps(body, indent=1))
        spec = Spec(
            id=server_id,
            name=body["name"],
            tree=tree,
            namespace=self._compute.namespace(server_id),
            nics=self._plug(server_id, body.get("networks"), request.token),
            user_data=body.get("user_data") or "",
            instance_id=server["metadata"].get("trove_instance_id", ""),
            disks=disks,
        )
        self._task(
            server_id,
            "spawning",
            lambda: self._compute.spawn(spec, lambda: self._ended(server_id)),
            "ACTIVE",
        )
        return Response(202, {"server": self._created(server_id)})

    def _created(self, server_id: str) -> Record:
        link = {"rel": "self", "href": f"{self._base}/v2.1/servers/{server_id}"}
        return {
            "id": server_id,
            "links": [link],
            "adminPass": uuid.uuid4().hex[:12],
            "OS-DCF:diskConfig": "MANUAL",
            "security_groups": [],
        }

    def _reserve_volumes(self, server_id: str, body: Record) -> list[Disk]:
        disks = []
        for mapping in body.get("block_device_mapping_v2") or []:
            if mapping.get("source_type") != "volume":
                continue
            device = "/dev/" + (mapping.get("device_name") or "vdb").removeprefix(
                "/dev/"
            )
            self._cinder.reserve(mapping["uuid"], server_id, device)
            path = self._cinder.path(mapping["uuid"])
            disks.append(Disk(mapping["uuid"], str(path), device))
        return disks

    def _plug(self, server_id: str, networks: Any, token: Token) -> list[Any]:
        if not isinstance(networks, list):  # "auto" or "none"
            return []
        return self._neutron.plug(server_id, networks, token)

    @route("DELETE", "/v2.1/servers/{server_id}")
    def delete(self, _request: Request, server_id: str) -> Response:
        self._server(server_id)

        def done(_error: Exception | None) -> None:
            with self._state.change():
                server = self._state["servers"].pop(server_id)
            self._neutron.unplug(server_id)
            for volume_id in server["volumes"]:  # delete_on_termination
                self._cinder.remove(volume_id)

        with self._state.change():
            self._server(server_id)["task"] = "deleting"
        self._compute.submit(server_id, lambda: self._compute.destroy(server_id), done)
        return Response(204)

    # Volumes, metadata, tags

    @route("GET", "/v2.1/servers/{server_id}/os-volume_attachments")
    def attachments(self, _request: Request, server_id: str) -> Response:
        server = self._server(server_id)
        found = [self._attachment(server_id, v) for v in server["volumes"]]
        return Response(200, {"volumeAttachments": found})

    def _attachment(self, server_id: str, volume_id: str) -> Record:
        attachments = self._cinder.volume(volume_id)["attachments"]
        device = attachments[0]["device"] if attachments else None
        identity = {"id": volume_id, "volumeId": volume_id, "serverId": server_id}
        return {**identity, "device": device}

    @route("POST", "/v2.1/servers/{server_id}/os-volume_attachments")
    def attach(self, request: Request, server_id: str) -> Response:
        server = self._server(server_id)
        body = request.json()["volumeAttachment"]
        volume_id = body["volumeId"]
        device = body.get("device") or "/dev/vdb"
        self._cinder.reserve(volume_id, server_id, device)
        disk = Disk(volume_id, str(self._cinder.path(volume_id)), device)
        self._compute.attach(server_id, disk)
        with self._state.change():
            server["volumes"].append(volume_id)
        return Response(
            200, {"volumeAttachment": self._attachment(server_id, volume_id)}
        )

    @route("DELETE", "/v2.1/servers/{server_id}/os-volume_attachments/{volume_id}")
    def detach(self, _request: Request, server_id: str, volume_id: str) -> Response:
        server = self._server(server_id)
        if volume_id not in server["volumes"]:
            raise HttpError(404, f"Volume {volume_id} is not attached.")
        self._compute.detach(server_id, volume_id)
        with self._state.change():
            server["volumes"].remove(volume_id)
        self._cinder.release(volume_id)
        return Response(202)

    @route("GET", "/v2.1/servers/{server_id}/metadata")
    def metadata(self, _request: Request, server_id: str) -> Response:
        return Response(200, {"metadata": self._server(server_id)["metadata"]})

    @route("POST PUT", "/v2.1/servers/{server_id}/metadata")
    def set_metadata(self, request: Request, server_id: str) -> Response:
        with self._state.change():
            self._server(server_id)["metadata"].update(request.json()["metadata"])
        return Response(200, {"metadata": self._server(server_id)["metadata"]})

    @route("GET", "/v2.1/servers/{server_id}/tags")
    def tags(self, _request: Request, server_id: str) -> Response:
        return Response(200, {"tags": self._server(server_id)["tags"]})

    @route("PUT", "/v2.1/servers/{server_id}/tags")
    def set_tags(self, request: Request, server_id: str) -> Response:
        with self._state.change():
            self._server(server_id)["tags"] = request.json()["tags"]
        return Response(200, {"tags": self._server(server_id)["tags"]})
