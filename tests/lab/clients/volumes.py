"""Cinder's REST API as the operator sees it, who owns Trove's volumes.

The calling thread must be inside the lab's network.
"""

from __future__ import annotations

from typing import Any

import requests

from lab.clients import identity
from lab.cloud.keystone import ACCOUNTS, PROJECTS
from lab.controlplane.config import CLOUD


class VolumeClient:
    """Volumes and snapshots of the project that Trove keeps its own in."""

    def __init__(self, account: str = "trove", timeout: float = 30.0) -> None:
        account_ = ACCOUNTS[account]
        self._project = PROJECTS[account_.project]
        self._timeout = timeout
        self._session = requests.Session()
        self._session.headers["X-Auth-Token"] = identity.token(account_)

    def request(self, method: str, path: str, body: Any = None) -> requests.Response:
        """Any request below the project's URL; refused ones raise HTTPError."""
        url = f"{CLOUD}/volume/v3/{self._project}{path}"
        answer = self._session.request(method, url, json=body, timeout=self._timeout)
        answer.raise_for_status()
        return answer

    def snapshots(self) -> dict[str, dict[str, Any]]:
        """All snapshots by their ids."""
        rows = self.request("GET", "/snapshots/detail").json()["snapshots"]
        return {row["id"]: row for row in rows}

    def limit_snapshots(self, limit: int) -> int:
        """Set how many snapshots there may be; returns the limit before."""
        path = f"/os-quota-sets/{self._project}"
        before = self.request("GET", path).json()["quota_set"]["snapshots"]
        self.request("PUT", path, {"quota_set": {"snapshots": limit}})
        return before
