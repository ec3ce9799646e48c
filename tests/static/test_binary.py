"""What the release binary is made of."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from lab import settings

SIZE_LIMIT = 14_000_000


def readelf(binary: Path, *options: str) -> str:
    argv = ["readelf", "--wide", *options, str(binary)]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def test_needs_no_loader_and_no_library(binary: Path) -> None:
    assert "INTERP" not in readelf(binary, "--program-headers")
    assert "(NEEDED)" not in readelf(binary, "--dynamic")


def test_is_position_independent(binary: Path) -> None:
    assert re.search(r"Type:\s+DYN", readelf(binary, "--file-header"))
    assert re.search(r"\(FLAGS_1\).*\bPIE\b", readelf(binary, "--dynamic"))


def test_memory_is_protected(binary: Path) -> None:
    """No executable stack, relocations read-only after start."""
    headers = readelf(binary, "--program-headers")
    assert re.search(r"GNU_STACK .* RW +0", headers)
    assert "GNU_RELRO" in headers


def test_is_small(binary: Path) -> None:
    assert binary.stat().st_size <= SIZE_LIMIT


def test_does_not_tell_where_it_was_built(binary: Path) -> None:
    """Paths of the build machine would differ from build to build and tell
    users' names."""
    content = binary.read_bytes()
    places = {str(Path.home()), str(settings.REPO), "/root", "/home"}
    # A directory followed by more of a path, within printable text.
    names = "|".join(re.escape(place) for place in sorted(places) if place != "/")
    found = re.findall(rf"(?:{names})/[\w.-]+/[ -~]{{0,60}}".encode(), content)
    assert found == [], f"{len(found)} paths"
