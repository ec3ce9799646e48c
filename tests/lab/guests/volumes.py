"""Cinder volumes: sparse files, attached to guests as loop devices."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

GIB = 1 << 30


@dataclass(frozen=True)
class Loop:
    """An attached loop device."""

    device: str
    file: str


def create(path: Path, size_gib: int) -> None:
    """Make an empty volume; blocks are allocated when written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "xb") as file:
        file.truncate(size_gib * GIB)


def copy(source: Path, target: Path) -> None:
    """A snapshot, or a volume made from one; holes stay holes."""
    argv = ["cp", "--sparse=always", "--reflink=auto", str(source), str(target)]
    subprocess.run(argv, check=True)


def extend(path: Path, size_gib: int) -> None:
    """Grow a volume; devices that are attached see the new size at once."""
    os.truncate(path, size_gib * GIB)
    for loop in attached(path):
        subprocess.run(["losetup", "--set-capacity", loop.device], check=True)


def attached(path: Path) -> list[Loop]:
    """Loop devices whose file is `path` or lies below it."""
    output = subprocess.run(
        ["losetup", "--list", "--json", "--output", "NAME,BACK-FILE"],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    devices = json.loads(output)["loopdevices"] if output.strip() else []
    loops = [
        Loop(d["name"], d["back-file"].removesuffix(" (deleted)")) for d in devices
    ]
    inside = str(path) + "/"
    return [x for x in loops if x.file == str(path) or x.file.startswith(inside)]


def attach(path: Path) -> str:
    """The loop device of a volume, made if there is none yet."""
    for loop in attached(path):
        return loop.device
    return subprocess.run(
        ["losetup", "--find", "--show", str(path)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout.strip()


def detach(path: Path) -> None:
    """Release the loop devices of a volume, or of all volumes below `path`."""
    for loop in attached(path):
        subprocess.run(["losetup", "--detach", loop.device], check=True)
