"""What the cloud knows: tables of plain records, kept in one JSON file."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

Record = dict[str, Any]
Table = dict[str, Record]

TABLES = (
    "servers",
    "server_groups",
    "volumes",
    "snapshots",
    "quotas",
    "networks",
    "subnets",
    "ports",
    "security_groups",
    "security_group_rules",
    "floatingips",
)


def now() -> str:
    """The time as the services write it."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


class State:
    """All tables under one lock. Change records only inside `change()`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._tables: dict[str, Table] = {name: {} for name in TABLES}
        if path.exists():
            self._tables.update(json.loads(path.read_text()))

    def __getitem__(self, table: str) -> Table:
        return self._tables[table]

    @contextmanager
    def change(self) -> Iterator[None]:
        """Hold the lock; what was changed is on disk afterwards."""
        with self._lock:
            yield
            temporary = self._path.with_suffix(".new")
            temporary.write_text(json.dumps(self._tables, indent=1))
            os.rename(temporary, self._path)

    def rows(self, table: str) -> list[Record]:
        """A snapshot of one table's records."""
        with self._lock:
            return list(self._tables[table].values())
