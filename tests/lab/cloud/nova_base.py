"""Compute v2.1, the part that is not about one server: discovery, flavors, groups."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

from lab.cloud.cinder import Cinder
from lab.cloud.compute import Compute
from lab.cloud.glance import images
from lab.cloud.http import HttpError, Request, Response, Service, route
from lab.cloud.neutron import Neutron
from lab.cloud.state import Record, State

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


class NovaBase(Service):
    """What every part of Nova needs, and what needs no server."""

    prefix = "/compute"

    def __init__(
        self,
        base: str,
        state: State,
        compute: Compute,
        cinder: Cinder,
        neutron: Neutron,
        trees: Path,
    ) -> None:
        """`trees`: a JSON file of the guest trees' paths by datastore label."""
        super().__init__()
        self._base = base + self.prefix
        self._state = state
        self._compute = compute
        self._cinder = cinder
        self._neutron = neutron
        self._trees = trees

    def _tree(self, image: str) -> str:
        """The guest tree that an image stands for; the file may have grown."""
        if image not in images():
            raise HttpError(400, f"Image {image} could not be found.")
        label = images()[image].label
        trees = json.loads(self._trees.read_text())
        if label not in trees:
            raise HttpError(400, f"The guest tree {label} has not been fetched.")
        return trees[label]

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

    # Server groups

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

    # For the parts about servers

    def _view(self, server: Record) -> Record:
        """A server as the API shows it."""
        raise NotImplementedError

    def _server(self, server_id: str) -> Record:
        if server_id not in self._state["servers"]:
            raise HttpError(404, f"Instance {server_id} could not be found.")
        return self._state["servers"][server_id]

    def _require(self, server: Record, *statuses: str) -> None:
        if server["status"] not in statuses:
            raise HttpError(
                409,
                f"Instance {server['id']} is in vm_state {server['status'].lower()}",
            )
