"""Putting our agent into a guest's root directory, as an image would have it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from lab import settings

SERVICE = "trove-guestagent.service"


def install(root: Path, binary: Path) -> None:
    """Install the binary and everything in the repository's systemd/.

    The agent's unit is enabled; the databases' units are not, the agent starts
    them itself.
    """
    install_files(root, binary)
    _run(["systemctl", f"--root={root}", "--quiet", "enable", SERVICE])


def install_files(root: Path, binary: Path) -> None:
    """`make install` into `root`."""
    make = ["make", "--silent", f"--directory={settings.REPO}", "install"]
    _run([*make, f"DESTDIR={root}", f"BINARY={binary}"])


def _run(argv: list[str]) -> None:
    done = subprocess.run(argv, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(argv)}: {done.stderr.strip()}")
