"""Network v2: the lab's segments as networks, ports with real addresses."""

from __future__ import annotations

import uuid
from typing import Any

from lab.cloud.http import HttpError, Request, Response, Service, Token, route
from lab.cloud.keystone import PROJECTS
from lab.cloud.state import Record, State
from lab.network import MANAGEMENT, PUBLIC, USER, Nic, Segment

NETWORK_IDS = {
    MANAGEMENT.name: "10000000-0000-4000-8000-000000000001",
    USER.name: "10000000-0000-4000-8000-000000000002",
    PUBLIC.name: "10000000-0000-4000-8000-000000000003",
}
SEGMENTS = {NETWORK_IDS[s.name]: s for s in (MANAGEMENT, USER, PUBLIC)}
# Addresses below are the lab's own, from here on they are handed out.
FIRST_HOST = 10

# Path of a collection to its table; the singular is the key in bodies.
COLLECTIONS = {
    "networks": "networks",
    "subnets": "subnets",
    "ports": "ports",
    "security-groups": "security_groups",
    "security-group-rules": "security_group_rules",
    "floatingips": "floatingips",
}
# Query arguments that do not filter.
PAGING = {"fields", "limit", "marker", "sort_key", "sort_dir", "page_reverse"}


def subnet_id(network_id: str) -> str:
    """Every network has one subnet."""
    return network_id.replace("10000000", "30000000", 1)


class Neutron(Service):
    """Generic collections; ports and floating addresses get an address."""

    prefix = "/networking"

    def __init__(self, base: str, state: State) -> None:
        super().__init__()
        self._base = base + self.prefix
        self._state = state
        with state.change():
            for network_id, segment in SEGMENTS.items():
                if network_id not in state["networks"]:
                    self._add_network(network_id, segment)

    def error(self, status: int, message: str) -> Response:
        kind = {404: "NotFound", 409: "Conflict", 401: "Unauthorized"}.get(
            status, "BadRequest"
        )
        body = {"type": kind, "message": message, "detail": ""}
        return Response(status, {"NeutronError": body})

    def _add_network(self, network_id: str, segment: Segment) -> None:
        owner = PROJECTS["demo" if segment is USER else "service"]
        common = {"tenant_id": owner, "project_id": owner}
        self._state["networks"][network_id] = {
            "id": network_id,
            "name": segment.name,
            "shared": True,
            "status": "ACTIVE",
            "admin_state_up": True,
            "subnets": [subnet_id(network_id)],
            "router:external": segment is PUBLIC,
            **common,
        }
        self._state["subnets"][subnet_id(network_id)] = {
            "id": subnet_id(network_id),
            "name": f"{segment.name}-subnet",
            "network_id": network_id,
            "cidr": segment.cidr,
            "ip_version": 4,
            "gateway_ip": segment.gateway,
            "host_routes": [],
            "dns_nameservers": [MANAGEMENT.gateway],
            "enable_dhcp": True,
            **common,
        }
        if segment is USER:
            # Trove asks whether the subnet has a router before it makes an
            # instance public.
            self._state["ports"]["router"] = {
                "id": "router",
                "name": "",
                "network_id": network_id,
                "device_id": "router",
                "device_owner": "network:router_interface",
                "mac_address": "fa:16:3e:00:00:01",
                "status": "ACTIVE",
                "security_groups": [],
                "fixed_ips": [
                    {"subnet_id": subnet_id(network_id), "ip_address": segment.gateway}
                ],
                **common,
            }

    @route("GET", "", public=True)
    def versions(self, _request: Request) -> Response:
        link = [{"rel": "self", "href": f"{self._base}/v2.0/"}]
        versions = [{"id": "v2.0", "status": "CURRENT", "links": link}]
        return Response(200, {"versions": versions})

    @route("GET", "/v2.0/extensions")
    def extensions(self, _request: Request) -> Response:
        return Response(200, {"extensions": [self._extension("project-id")]})

    @route("GET", "/v2.0/extensions/{alias}")
    def extension(self, _request: Request, alias: str) -> Response:
        if alias != "project-id":
            raise HttpError(404, f"Extension {alias} could not be found")
        return Response(200, {"extension": self._extension(alias)})

    @staticmethod
    def _extension(alias: str) -> Record:
        empty = {"description": "", "updated": "", "links": []}
        return {"alias": alias, "name": alias, **empty}

    @route("GET", "/v2.0/{collection}")
    def index(self, request: Request, collection: str) -> Response:
        table = self._table(collection)
        rows = self._state.rows(table)
        for name, values in request.query.items():
            if name not in PAGING:
                rows = [row for row in rows if _matches(row, name, values)]
        return Response(200, {table: rows})

    @route("POST", "/v2.0/{collection}")
    def create(self, request: Request, collection: str) -> Response:
        assert request.token is not None
        table = self._table(collection)
        singular = table[:-1]
        record = {"id": str(uuid.uuid4()), **self._owner(request.token)}
        with self._state.change():
            match table:
                case "ports":
                    record |= self._port(request.json()[singular])
                case "floatingips":
                    record |= self._floating(request.json()[singular])
                case _:
                    record |= request.json()[singular]
            self._state[table][record["id"]] = record
        return Response(201, {singular: record})

    @route("GET", "/v2.0/{collection}/{key}")
    def show(self, _request: Request, collection: str, key: str) -> Response:
        table = self._table(collection)
        return Response(200, {table[:-1]: self._row(table, key)})

    @route("PUT", "/v2.0/{collection}/{key}")
    def update(self, request: Request, collection: str, key: str) -> Response:
        table = self._table(collection)
        with self._state.change():
            self._row(table, key).update(request.json()[table[:-1]])
        return Response(200, {table[:-1]: self._row(table, key)})

    @route("DELETE", "/v2.0/{collection}/{key}")
    def delete(self, _request: Request, collection: str, key: str) -> Response:
        table = self._table(collection)
        with self._state.change():
            self._row(table, key)
            if table == "security_groups":
                self._check_unused(key)
            del self._state[table][key]
        return Response(204)

    def _check_unused(self, group_id: str) -> None:
        for port in self._state["ports"].values():
            if group_id in port["security_groups"]:
                raise HttpError(409, f"Security Group {group_id} in use.")

    @staticmethod
    def _table(collection: str) -> str:
        if collection not in COLLECTIONS:
            raise HttpError(404, "The resource could not be found.")
        return COLLECTIONS[collection]

    def _row(self, table: str, key: str) -> Record:
        if key not in self._state[table]:
            raise HttpError(404, f"{table[:-1]} {key} could not be found.")
        return self._state[table][key]

    @staticmethod
    def _owner(token: Token) -> Record:
        return {"tenant_id": token.project_id, "project_id": token.project_id}

    def _port(self, body: Record) -> Record:
        segment = SEGMENTS.get(body["network_id"])
        if segment is None:
            raise HttpError(404, f"Network {body['network_id']} could not be found.")
        wanted = (body.get("fixed_ips") or [{}])[0]
        address = wanted.get("ip_address") or self._free_address(segment)
        octets = [int(octet) for octet in address.split(".")]
        return {
            "name": "",
            "status": "DOWN",
            "admin_state_up": True,
            "device_id": "",
            "device_owner": "",
            "security_groups": [],
            "mac_address": "fa:16:3e:%02x:%02x:%02x" % tuple(octets[1:]),
            **body,
            "fixed_ips": [
                {"subnet_id": subnet_id(body["network_id"]), "ip_address": address}
            ],
        }

    def _floating(self, body: Record) -> Record:
        address = self._free_address(PUBLIC)
        return {"status": "ACTIVE", "floating_ip_address": address, **body}

    def _free_address(self, segment: Segment) -> str:
        used = {
            fixed["ip_address"]
            for port in self._state["ports"].values()
            for fixed in port["fixed_ips"]
        }
        used |= {f["floating_ip_address"] for f in self._state["floatingips"].values()}
        hosts = list(segment.network.hosts())[FIRST_HOST - 1 :]
        for host in hosts:
            if str(host) not in used:
                return str(host)
        raise HttpError(409, f"No more addresses available on network {segment.name}.")

    def plug(
        self, server_id: str, networks: list[dict[str, Any]], token: Token
    ) -> list[Nic]:
        """Nova's part: bind ports to a server, in the order they were given."""
        nics = []
        with self._state.change():
            for index, wanted in enumerate(networks):
                if port_id := wanted.get("port"):
                    port = self._row("ports", port_id)
                else:
                    port = {"id": str(uuid.uuid4()), **self._owner(token)}
                    port |= self._port({"network_id": wanted["uuid"]})
                    self._state["ports"][port["id"]] = port
                port["device_id"] = server_id
                port["device_owner"] = "compute:nova"
                port["status"] = "ACTIVE"
                nics.append(
                    Nic(
                        name=f"eth{index}",
                        mac=port["mac_address"],
                        address=port["fixed_ips"][0]["ip_address"],
                        segment=SEGMENTS[port["network_id"]],
                    )
                )
        return nics

    def unplug(self, server_id: str) -> None:
        """Release a deleted server's ports; who made them deletes them."""
        with self._state.change():
            for port in self._state["ports"].values():
                if port["device_id"] == server_id:
                    port.update(device_id="", device_owner="", status="DOWN")

    def addresses(self, server_id: str) -> dict[str, list[Record]]:
        """Nova's view of a server's addresses, by network name."""
        found: dict[str, list[Record]] = {}
        for port in self._state.rows("ports"):
            if port["device_id"] != server_id:
                continue
            network = self._state["networks"][port["network_id"]]["name"]
            for fixed in port["fixed_ips"]:
                address = {
                    "addr": fixed["ip_address"],
                    "version": 4,
                    "OS-EXT-IPS:type": "fixed",
                    "OS-EXT-IPS-MAC:mac_addr": port["mac_address"],
                }
                found.setdefault(network, []).append(address)
        return found


def _matches(row: Record, name: str, values: list[str]) -> bool:
    """Whether a record passes one filter of a list request."""
    if name == "fixed_ips":  # such as fixed_ips=subnet_id=...
        wanted = dict(value.split("=", 1) for value in values)
        return any(
            all(str(fixed.get(key)) == value for key, value in wanted.items())
            for fixed in row.get("fixed_ips", [])
        )
    actual = row.get(name)
    if isinstance(actual, bool):
        return str(actual).lower() in [value.lower() for value in values]
    return str(actual) in values
