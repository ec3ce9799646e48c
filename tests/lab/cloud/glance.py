"""Image v2: one image per registered datastore version.

An image stands for a guest tree. Those of series that are fetched on demand are
there as well; booting them takes a tree.
"""

from __future__ import annotations

from typing import Any

from lab import settings
from lab.cloud.http import HttpError, Request, Response, Service, route
from lab.cloud.keystone import PROJECTS
from lab.settings import Datastore


def images() -> dict[str, Datastore]:
    """Image id to the datastore whose tree it stands for."""
    return {
        image_id(position, extra): datastore
        for position, datastore in enumerate(settings.versions().all, 1)
        for extra in (0, 1)
    }


def image_id(position: int, extra: int) -> str:
    return f"20000000-0000-4000-8000-{position * 10 + extra:012d}"


def images_of(datastore: Datastore) -> list[str]:
    """The images that stand for a datastore's tree: now, and as an upgrade."""
    return [image for image, found in images().items() if found == datastore]


class Glance(Service):
    """Read only."""

    prefix = "/image"

    def __init__(self, base: str) -> None:
        super().__init__()
        self._base = base + self.prefix

    @route("GET", "", public=True)
    @route("GET", "/versions", public=True)
    def versions(self, _request: Request) -> Response:
        link = [{"rel": "self", "href": f"{self._base}/v2/"}]
        versions = [{"id": "v2.16", "status": "CURRENT", "links": link}]
        return Response(300, {"versions": versions})

    @route("GET", "/v2/images")
    def index(self, request: Request) -> Response:
        tags = request.query.get("tag", [])
        found = [self._view(i) for i in images()]
        found = [image for image in found if all(tag in image["tags"] for tag in tags)]
        first = {"first": "/v2/images", "schema": "/v2/schemas/images"}
        return Response(200, {"images": found, **first})

    @route("GET", "/v2/images/{image_id}")
    def show(self, _request: Request, image_id: str) -> Response:
        if image_id not in images():
            raise HttpError(404, f"Failed to find image {image_id}")
        return Response(200, self._view(image_id))

    @route("GET", "/v2/schemas/{name}")
    def schema(self, _request: Request, name: str) -> Response:
        text = {"type": ["null", "string"]}
        properties = {"id": text, "name": text, "tags": {"type": "array"}}
        more = {"type": ["null", "string", "integer", "boolean"]}
        links = [{"href": "{self}", "rel": "self"}]
        body = {"name": name, "properties": properties, "links": links}
        return Response(200, {**body, "additionalProperties": more})

    @staticmethod
    def _view(image_id: str) -> dict[str, Any]:
        datastore = images()[image_id]
        return {
            "id": image_id,
            "name": f"trove-guest-{datastore.label}-{image_id[-2:]}",
            "status": "active",
            "visibility": "public",
            "tags": ["trove", datastore.name],
            "owner": PROJECTS["service"],
            "disk_format": "qcow2",
            "container_format": "bare",
            "size": 1 << 28,
            "min_ram": 0,
            "min_disk": 0,
            "created_at": "2026-01-01T00:00:00Z",
            "updated_at": "2026-01-01T00:00:00Z",
            "self": f"/v2/images/{image_id}",
            "file": f"/v2/images/{image_id}/file",
            "schema": "/v2/schemas/image",
        }
