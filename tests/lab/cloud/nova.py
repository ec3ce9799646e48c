"""Compute v2.1: servers are guests; everything that takes time is a task."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

from lab.cloud.cinder import Cinder
from lab.cloud.compute import Compute
from lab.cloud.glance import images
from lab.cloud.http import HttpError, Request, Response, Service, Token, route
from lab.cloud.neutron import Neutron
from lab.cloud.state import Record, State, now
from lab.guests.spec import Disk, Spec

MAX_MICROVERSION = "2.96"
FLAVORS: dict[str, Record] = {
    str(flavor["id"]): flavor
    for flavor in (
        {"id": "1", "name": "db.small", "ram": 512, "disk": 5, "vcpus": 1},
        {"id": "2", "name": "db.medium", "ram": 1024, "disk": 5, "vcpus": 1},
        {"id": "3", "name": "db.large", "ram": 2048, "disk": 10, "vcpus": 2},
        {"id": "4", "name": "db.xlarge", "ram": 4096, "disk": 20, "vcpus": 4},
    )
}
POWER_STATES = {"ACTIVE": 1, "VERIFY_RESIZE": 1, "REBOOT": 1, "SHUTOFF": 4}


class Nova(Service):
    """Servers with their actions and volume attachments."""

    prefix = "/compute"

    def __init__(
        self,
        base: str,
        state: State,
        compute: Compute,
        cinder: Cinder,
        neutron: Neutron,
        trees: dict[str, str],
    ) -> None:
        """`trees`: datastore name to the path of its guest tree."""
        super().__init__()
        self._base = base + self.prefix
        self._state = state
        self._compute = compute
        self._cinder = cinder
        self._neutron = neutron
        self._trees = trees

    def error(self, status: int, message: str) -> Response:
        kind = {404: "itemNotFound", 401: "unauthorized", 409: "conflictingRequest"}
        body = {"message": message, "code": status}
        return Response(status, {kind.get(status, "badRequest"): body})

    def dispatch(self, request: Request, path: str) -> Response:
        """Echo the microversion that was asked for, as Nova does."""
        response = super().dispatch(request, path)
        asked = request.headers.get("OpenStack-API-Version", "").removeprefix(
            "compute "
        )
        version = MAX_MICROVERSION if asked == "latest" else asked or "2.1"
        response.headers["OpenStack-API-Version"] = f"compute {version}"
        response.headers["X-OpenStack-Nova-API-Version"] = version
        response.headers["Vary"] = "OpenStack-API-Version"
        return response

    # Discovery and flavors

    def _version(self) -> Record:
        return {
            "id": "v2.1",
            "status": "CURRENT",
            "version": MAX_MICROVERSION,
            "min_version": "2.1",
            "updated": "2013-07-23T11:33:21Z",
            "links": [{"rel": "self", "href": f"{self._base}/v2.1/"}],
        }

    @route("GET", "", public=True)
    def versions(self, _request: Request) -> Response:
        return Response(200, {"versions": [self._version()]})

    @route("GET", "/v2.1", public=True)
    def version(self, _request: Request) -> Response:
        return Response(200, {"version": self._version()})

    @route("GET", "/v2.1/flavors")
    @route("GET", "/v2.1/flavors/detail")
    def flavors(self, _request: Request) -> Response:
        return Response(200, {"flavors": [self._flavor(f) for f in FLAVORS]})

    @route("GET", "/v2.1/flavors/{flavor_id}")
    def flavor(self, _request: Request, flavor_id: str) -> Response:
        return Response(200, {"flavor": self._flavor(flavor_id)})

    @route("GET", "/v2.1/flavors/{_flavor_id}/os-extra_specs")
    def extra_specs(self, _request: Request, _flavor_id: str) -> Response:
        return Response(200, {"extra_specs": {}})

    def _flavor(self, flavor_id: str) -> Record:
        if flavor_id not in FLAVORS:
            raise HttpError(404, f"Flavor {flavor_id} could not be found.")
        return {
            **FLAVORS[flavor_id],
            "swap": "",
            "rxtx_factor": 1.0,
            "OS-FLV-EXT-DATA:ephemeral": 0,
            "OS-FLV-DISABLED:disabled": False,
            "os-flavor-access:is_public": True,
            "links": [
                {"rel": "self", "href": f"{self._base}/v2.1/flavors/{flavor_id}"},
                {"rel": "bookmark", "href": f"{self._base}/flavors/{flavor_id}"},
            ],
        }

    @route("GET", "/v2.1/limits")
    def limits(self, _request: Request) -> Response:
        return Response(200, {"limits": {"rate": [], "absolute": {}}})

    # Servers

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

    def _server(self, server_id: str) -> Record:
        if server_id not in self._state["servers"]:
            raise HttpError(404, f"Instance {server_id} could not be found.")
        return self._state["servers"][server_id]

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
        if image not in images():
            raise HttpError(400, f"Image {image} could not be found.")
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
            tree=self._trees[images()[image]],
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

    # Tasks

    def _task(
        self, server_id: str, task: str, work: Callable[[], None], status: str
    ) -> None:
        """Run `work` in the background; then the server has `status`, or ERROR."""

        def done(error: Exception | None) -> None:
            with self._state.change():
                server = self._state["servers"].get(server_id)
                if server is None:
                    return
                server.update(task=None, updated=now())
                if error is None:
                    server["status"] = status
                else:
                    fault = {"code": 500, "created": now(), "message": str(error)}
                    server.update(status="ERROR", fault=fault)

        with self._state.change():
            self._server(server_id)["task"] = task
        self._compute.submit(server_id, work, done)

    def _ended(self, server_id: str) -> None:
        """The guest is off. Outside of a task it did that by itself."""
        with self._state.change():
            server = self._state["servers"].get(server_id)
            if server is not None and server["task"] is None:
                server.update(status="SHUTOFF", updated=now())

    def _restart(self, server_id: str, graceful: bool) -> None:
        self._compute.power_off(server_id, graceful)
        self._compute.power_on(server_id, lambda: self._ended(server_id))

    # Actions

    @route("POST", "/v2.1/servers/{server_id}/action")
    def action(self, request: Request, server_id: str) -> Response:
        server = self._server(server_id)
        body = request.json()
        name = next(iter(body), "")
        handlers: dict[str, Callable[[Record, Any], Response]] = {
            "reboot": self._reboot,
            "resize": self._resize,
            "migrate": self._migrate,
            "confirmResize": self._confirm_resize,
            "revertResize": self._revert_resize,
            "rebuild": self._rebuild,
            "os-start": self._start,
            "os-stop": self._stop,
        }
        if name not in handlers:
            raise HttpError(400, f"There is no such action: {name}.")
        if server["task"] is not None:
            raise HttpError(
                409,
                f"Cannot '{name}' instance {server_id} while it is in "
                f"task_state {server['task']}",
            )
        return handlers[name](server, body[name])

    def _require(self, server: Record, *statuses: str) -> None:
        if server["status"] not in statuses:
            raise HttpError(
                409,
                f"Instance {server['id']} is in vm_state {server['status'].lower()}",
            )

    def _reboot(self, server: Record, arguments: Any) -> Response:
        self._require(server, "ACTIVE", "SHUTOFF", "ERROR")
        graceful = (arguments or {}).get("type", "SOFT").upper() == "SOFT"
        with self._state.change():
            server["status"] = "REBOOT" if graceful else "HARD_REBOOT"
        self._task(
            server["id"],
            "rebooting",
            lambda: self._restart(server["id"], graceful),
            "ACTIVE",
        )
        return Response(202)

    def _move(self, server: Record, flavor: str) -> Response:
        """Resize and migrate: off here, on there, waiting for a decision."""
        self._require(server, "ACTIVE", "SHUTOFF")
        with self._state.change():
            server.update(old_flavor=server["flavor"], flavor=flavor, status="RESIZE")
        self._task(
            server["id"],
            "resize_prep",
            lambda: self._restart(server["id"], graceful=True),
            "VERIFY_RESIZE",
        )
        return Response(202)

    def _resize(self, server: Record, arguments: Any) -> Response:
        flavor = str(arguments["flavorRef"]).rsplit("/", 1)[-1]
        self._flavor(flavor)
        return self._move(server, flavor)

    def _migrate(self, server: Record, _arguments: Any) -> Response:
        return self._move(server, server["flavor"])

    def _confirm_resize(self, server: Record, _arguments: Any) -> Response:
        self._require(server, "VERIFY_RESIZE")
        with self._state.change():
            server.update(status="ACTIVE", updated=now())
        return Response(204)

    def _revert_resize(self, server: Record, _arguments: Any) -> Response:
        self._require(server, "VERIFY_RESIZE")
        with self._state.change():
            server.update(flavor=server["old_flavor"], status="REVERT_RESIZE")
        self._task(
            server["id"],
            "resize_reverting",
            lambda: self._restart(server["id"], graceful=True),
            "ACTIVE",
        )
        return Response(202)

    def _rebuild(self, server: Record, arguments: Any) -> Response:
        self._require(server, "ACTIVE", "SHUTOFF", "ERROR")
        image = arguments["imageRef"]
        if image not in images():
            raise HttpError(400, f"Image {image} could not be found.")
        server_id = server["id"]
        tree = self._trees[images()[image]]
        user_data = arguments.get("user_data")

        def work() -> None:
            self._compute.power_off(server_id, graceful=True)
            kept = self._compute.machine(server_id).spec.user_data
            self._compute.rebuild(server_id, user_data or kept, tree)
            self._compute.power_on(server_id, lambda: self._ended(server_id))

        with self._state.change():
            server.update(status="REBUILD", image=image)
        self._compute.console(
            server_id, "rebuild.json", json.dumps(arguments, indent=1)
        )
        self._task(server_id, "rebuilding", work, "ACTIVE")
        return Response(202, {"server": self._view(server)})

    def _start(self, server: Record, _arguments: Any) -> Response:
        self._require(server, "SHUTOFF")
        server_id = server["id"]
        self._task(
            server_id,
            "powering-on",
            lambda: self._compute.power_on(server_id, lambda: self._ended(server_id)),
            "ACTIVE",
        )
        return Response(202)

    def _stop(self, server: Record, _arguments: Any) -> Response:
        self._require(server, "ACTIVE", "ERROR")
        self._task(
            server["id"],
            "powering-off",
            lambda: self._compute.power_off(server["id"], graceful=True),
            "SHUTOFF",
        )
        return Response(202)

    # Volumes, metadata, tags, groups

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

    @route("GET", "/v2.1/os-server-groups")
    def groups(self, _request: Request) -> Response:
        return Response(200, {"server_groups": self._state.rows("server_groups")})

    @route("POST", "/v2.1/os-server-groups")
    def create_group(self, request: Request) -> Response:
        body = request.json()["server_group"]
        policies = body.get("policies") or [body.get("policy")]
        group = {"id": str(uuid.uuid4()), "members": [], **body, "policies": policies}
        with self._state.change():
            self._state["server_groups"][group["id"]] = group
        return Response(200, {"server_group": group})

    @route("GET", "/v2.1/os-server-groups/{group_id}")
    def group(self, _request: Request, group_id: str) -> Response:
        if group_id not in self._state["server_groups"]:
            raise HttpError(404, f"Instance group {group_id} could not be found.")
        return Response(200, {"server_group": self._state["server_groups"][group_id]})

    @route("DELETE", "/v2.1/os-server-groups/{group_id}")
    def delete_group(self, _request: Request, group_id: str) -> Response:
        with self._state.change():
            if self._state["server_groups"].pop(group_id, None) is None:
                raise HttpError(404, f"Instance group {group_id} could not be found.")
        return Response(204)
