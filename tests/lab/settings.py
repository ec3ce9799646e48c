"""Where things are, what they are called, and which versions they have."""

from __future__ import annotations

import hashlib
import os
import shlex
from dataclasses import dataclass
from functools import cache
from pathlib import Path

LAB_DIR = Path(__file__).resolve().parent
REPO = LAB_DIR.parents[1]
REQUIREMENTS = LAB_DIR / "requirements.txt"
SWIFT_REQUIREMENTS = LAB_DIR / "requirements-swift.txt"

DEFAULT_CACHE = Path("/var/cache/trove-guestagent-lab")
DEFAULT_STATE = Path("/var/tmp/trove-guestagent-lab")

# The datastores that have a guest tree, in the order they are registered.
DATASTORES = ("mysql", "mariadb")


@dataclass(frozen=True)
class Datastore:
    """How one datastore's guest tree is made."""

    name: str
    suite: str
    series: str
    packages: tuple[str, ...]


@dataclass(frozen=True)
class Versions:
    """The contents of versions.env."""

    trove: str
    python: str
    host_packages: tuple[str, ...]
    build_packages: tuple[str, ...]
    guest_packages: tuple[str, ...]
    datastores: dict[str, Datastore]


@cache
def versions() -> Versions:
    """Parse versions.env; a missing key is a mistake in the repository."""
    values: dict[str, str] = {}
    for line in (LAB_DIR / "versions.env").read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            key, _, value = line.partition("=")
            values[key] = " ".join(shlex.split(value))

    def datastore(name: str) -> Datastore:
        prefix = name.upper()
        return Datastore(
            name=name,
            suite=values[f"{prefix}_SUITE"],
            series=values[f"{prefix}_SERIES"],
            packages=tuple(values[f"{prefix}_PACKAGES"].split()),
        )

    return Versions(
        trove=values["TROVE_VERSION"],
        python=values["PYTHON_SERIES"],
        host_packages=tuple(values["HOST_PACKAGES"].split()),
        build_packages=tuple(values["BUILD_PACKAGES"].split()),
        guest_packages=tuple(values["GUEST_PACKAGES"].split()),
        datastores={name: datastore(name) for name in DATASTORES},
    )


def cache_dir() -> Path:
    """Downloads and built trees; survives the checkout and every lab."""
    return Path(os.environ.get("TROVE_LAB_CACHE") or DEFAULT_CACHE)


def state_dir() -> Path:
    """Everything a running lab writes; one lab per state directory."""
    return Path(os.environ.get("TROVE_LAB_STATE") or DEFAULT_STATE)


def lab_name(state: Path) -> str:
    """A short name, unique per state directory, for namespaces and cgroups."""
    if state == DEFAULT_STATE:
        return "tga-lab"
    return "tga-" + hashlib.sha256(str(state).encode()).hexdigest()[:8]


def lock_file(name: str) -> Path:
    """Held while a lab is brought up or taken down."""
    return cache_dir() / f"{name}.lock"


def agent_binary() -> Path:
    """The agent that goes into the guests (TROVE_GUESTAGENT_BINARY)."""
    default = REPO / "target/x86_64-unknown-linux-gnu/debug/trove-guestagent"
    return Path(os.environ.get("TROVE_GUESTAGENT_BINARY") or default)


def digest(*parts: object) -> str:
    """A short, stable key for a cache entry made from `parts`."""
    text = "\0".join(str(part) for part in parts)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
