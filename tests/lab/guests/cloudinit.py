"""What cloud-init does with Trove's user data at a guest's first boot."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import yaml

# cloud-init's own default for write_files.
DEFAULT_OWNER = "root:root"
DEFAULT_MODE = 0o644


def apply(root: Path, user_data: str, hostname: str) -> None:
    """Write hostname, /etc/hosts and every `write_files` entry into `root`."""
    (root / "etc/hostname").write_text(f"{hostname}\n")
    (root / "etc/hosts").write_text(
        f"127.0.0.1 localhost\n127.0.1.1 {hostname}\n::1 localhost ip6-localhost\n"
    )
    for entry in _write_files(user_data):
        write_file(root, entry)


def own_port(user_data: str) -> str | None:
    """MAC address of the interface that the database is to have for itself."""
    for entry in _write_files(user_data):
        if entry["path"] == "/etc/trove/eth1.json":
            return str(json.loads(_content(entry))["mac_address"])
    return None


def _write_files(user_data: str) -> list[dict[str, Any]]:
    text = base64.b64decode(user_data).decode() if user_data else ""
    if not text.startswith("#cloud-config"):
        return []
    return (yaml.safe_load(text) or {}).get("write_files", [])


def _content(entry: dict[str, Any]) -> bytes:
    content = entry.get("content", "")
    encoding = entry.get("encoding", "text/plain")
    if encoding in ("b64", "base64"):
        return base64.b64decode(content)
    if encoding == "text/plain":
        return content.encode()
    raise ValueError(f"write_files encoding {encoding!r} is not supported")


def write_file(root: Path, entry: dict[str, Any]) -> None:
    """One entry of `write_files`: content, encoding, owner, permissions."""
    data = _content(entry)
    path = root / entry["path"].lstrip("/")
    path.parent.mkdir(parents=True, exist_ok=True)
    if entry.get("append"):
        data = (path.read_bytes() if path.exists() else b"") + data
    path.write_bytes(data)
    # YAML gives an unquoted 0644 as a number, a quoted one as text.
    mode = entry.get("permissions", DEFAULT_MODE)
    path.chmod(int(mode, 8) if isinstance(mode, str) else mode)
    owner, _, group = entry.get("owner", DEFAULT_OWNER).partition(":")
    uid = _lookup(root / "etc/passwd", owner)
    gid = _lookup(root / "etc/group", group or owner)
    os.chown(path, uid, gid)


def _lookup(database: Path, name: str) -> int:
    """The numeric id of `name` in the guest's own passwd or group file."""
    for line in database.read_text().splitlines():
        fields = line.split(":")
        if fields[0] == name:
            return int(fields[2])
    raise LookupError(f"{name!r} is not in the guest's {database.name}")
