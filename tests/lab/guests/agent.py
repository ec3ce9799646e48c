"""Putting our agent into a guest's root directory, as an image would have it."""

from __future__ import annotations

import shutil
from pathlib import Path

from lab import settings

BINARY = "usr/local/bin/trove-guestagent"
UNITS = "usr/local/lib/systemd/system"
SERVICE = "trove-guestagent.service"


def install(root: Path, binary: Path) -> None:
    """Install the binary and everything in the repository's systemd/.

    The agent's unit is enabled; the databases' units are not, the agent starts
    them itself.
    """
    target = root / BINARY
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(binary, target)
    target.chmod(0o755)
    source = settings.REPO / "systemd"
    for unit in source.glob("*.service"):
        _install(unit, root / UNITS / unit.name)
    for kind in ("sysusers.d", "tmpfiles.d"):
        for path in (source / kind).glob("*.conf"):
            _install(path, root / "usr/local/lib" / kind / path.name)
    for drop_in in source.glob("*.service.d/*.conf"):
        _install(drop_in, root / UNITS / drop_in.parent.name / drop_in.name)
    wants = root / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir(parents=True, exist_ok=True)
    link = wants / SERVICE
    link.unlink(missing_ok=True)
    link.symlink_to(f"/{UNITS}/{SERVICE}")


def _install(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(0o644)
