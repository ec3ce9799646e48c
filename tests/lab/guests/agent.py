"""Putting our agent into a guest's root directory, as an image would have it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from lab import settings

BINARY = "usr/local/bin/trove-guestagent"
SERVICE = "trove-guestagent.service"
# Files of the repository's systemd/ and where `make install` puts them.
FILES = {
    "*.service": "usr/local/lib/systemd/system",
    "system-preset/*.preset": "usr/local/lib/systemd/system-preset",
    "tmpfiles.d/*.conf": "usr/lib/tmpfiles.d",
    "networkd.conf.d/*.conf": "usr/lib/systemd/networkd.conf.d",
}


def install(root: Path, binary: Path) -> None:
    """Install the binary and everything in the repository's systemd/.

    The agent's unit is enabled; the databases' units are not, the agent starts
    them itself.
    """
    _install(binary, root / BINARY, 0o755)
    for pattern, directory in FILES.items():
        for source in (settings.REPO / "systemd").glob(pattern):
            _install(source, root / directory / source.name, 0o644)
    argv = ["systemctl", f"--root={root}", "--quiet", "enable", SERVICE]
    subprocess.run(argv, check=True, capture_output=True)


def _install(source: Path, target: Path, mode: int) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(mode)
