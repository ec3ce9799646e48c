"""What all parts of block storage need."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lab.cloud.http import HttpError, Request, Response, Service
from lab.cloud.state import Record, State


class CinderBase(Service):
    """Records of volumes and snapshots, and the files behind them."""

    prefix = "/volume"

    def __init__(self, base: str, state: State, directory: Path) -> None:
        super().__init__()
        self._base = base + self.prefix
        self._state = state
        self._directory = directory
        # Told a server's id and a volume's when an attached volume has grown.
        self.extended: Callable[[str, str], None] = lambda _server, _volume: None

    def error(self, status: int, message: str) -> Response:
        kind = {
            401: "unauthorized",
            404: "itemNotFound",
            409: "conflictingRequest",
            413: "overLimit",
        }
        body = {"message": message, "code": status}
        return Response(status, {kind.get(status, "badRequest"): body})

    def path(self, volume_id: str) -> Path:
        """The file behind a volume or a snapshot."""
        return self._directory / f"{volume_id}.img"

    def volume(self, volume_id: str) -> Record:
        """The record of a volume, or 404."""
        if volume_id not in self._state["volumes"]:
            raise HttpError(404, f"Volume {volume_id} could not be found.")
        return self._state["volumes"][volume_id]

    def _filter(self, table: str, request: Request) -> list[Record]:
        if request.argument("marker"):
            return []  # every list fits on the first page
        rows = self._state.rows(table)
        for key in ("name", "status", "id", "volume_id"):
            if value := request.argument(key):
                rows = [row for row in rows if row.get(key) == value]
        return rows
