"""Swift's REST API as a user of the cloud sees it.

Plain requests: a test reads what is stored, not what a library makes of it.
The calling thread must be inside the lab's network.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

import requests

from lab.clients import identity
from lab.cloud.keystone import ACCOUNTS, PROJECTS
from lab.controlplane.config import OBJECTS


class ObjectClient:
    """One account's objects. Refused requests raise requests.HTTPError."""

    def __init__(self, account: str = "demo", timeout: float = 60.0) -> None:
        self._account = ACCOUNTS[account]
        self._timeout = timeout
        self._session = requests.Session()
        self.url = f"{OBJECTS}{PROJECTS[self._account.project]}"

    @property
    def token(self) -> str:
        """A token of the account, the same one every time."""
        if "X-Auth-Token" not in self._session.headers:
            self._session.headers["X-Auth-Token"] = identity.token(self._account)
        return str(self._session.headers["X-Auth-Token"])

    def request(self, method: str, path: str, **options: Any) -> requests.Response:
        """Any request below the account's URL."""
        assert self.token
        answer = self._session.request(
            method, self.url + path, timeout=self._timeout, **options
        )
        answer.raise_for_status()
        return answer

    def create_container(self, container: str) -> None:
        self.request("PUT", f"/{container}")

    def delete_container(self, container: str) -> None:
        self.request("DELETE", f"/{container}")

    def containers(self) -> list[str]:
        return [row["name"] for row in self.request("GET", "?format=json").json()]

    def put(
        self,
        container: str,
        name: str,
        body: bytes | Iterable[bytes],
        headers: dict[str, str] | None = None,
    ) -> str:
        """Store an object; its checksum."""
        answer = self.request("PUT", f"/{container}/{name}", data=body, headers=headers)
        return answer.headers["Etag"].strip('"')

    def put_segmented(
        self,
        container: str,
        name: str,
        segments: list[bytes],
        headers: dict[str, str] | None = None,
    ) -> str:
        """Store a static large object, its segments beside it; its checksum."""
        manifest: list[dict[str, Any]] = []
        for number, body in enumerate(segments):
            segment = f"{name.split('.')[0]}_{number:08d}"
            etag = self.put(container, segment, body)
            path = f"{container}/{segment}"
            manifest.append({"path": path, "etag": etag, "size_bytes": len(body)})
        self.request(
            "PUT",
            f"/{container}/{name}?multipart-manifest=put",
            data=json.dumps(manifest),
            headers=headers,
        )
        joined = "".join(entry["etag"] for entry in manifest)
        return hashlib.md5(joined.encode(), usedforsecurity=False).hexdigest()

    def head(self, container: str, name: str) -> dict[str, str]:
        """An object's headers, lower-case."""
        answer = self.request("HEAD", f"/{container}/{name}")
        return {key.lower(): value for key, value in answer.headers.items()}

    def get(self, container: str, name: str) -> bytes:
        return self.request("GET", f"/{container}/{name}").content

    def manifest(self, container: str, name: str) -> list[dict[str, Any]]:
        """The segments of a large object, in Swift's words."""
        path = f"/{container}/{name}?multipart-manifest=get"
        return self.request("GET", path).json()

    def delete(self, container: str, name: str) -> None:
        """Delete one object; a manifest without its segments."""
        self.request("DELETE", f"/{container}/{name}")

    def list(self, container: str, prefix: str = "") -> dict[str, int]:
        """Names and sizes of a container's objects; one that is not there is empty."""
        try:
            answer = self.request(
                "GET", f"/{container}", params={"format": "json", "prefix": prefix}
            )
        except requests.HTTPError as error:
            if error.response is None or error.response.status_code != 404:
                raise
            return {}
        return {row["name"]: row["bytes"] for row in answer.json()}

    def clear(self, container: str) -> None:
        """Delete everything in a container; no error if there is none."""
        for name in self.list(container):
            self.delete(container, name)
