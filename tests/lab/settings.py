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
IMAGE_REQUIREMENTS = LAB_DIR / "requirements-image.txt"

DEFAULT_CACHE = Path("/var/cache/trove-guestagent-lab")
DEFAULT_STATE = Path("/var/tmp/trove-guestagent-lab")

# The datastores that have a guest tree, in the order they are registered.
DATASTORES = ("mysql", "mariadb", "postgresql")


@dataclass(frozen=True)
class Datastore:
    """How one datastore's guest tree is made."""

    name: str
    suite: str
    series: str
    packages: tuple[str, ...]

    @property
    def label(self) -> str:
        """Unique among all datastores and series."""
        return f"{self.name}-{self.series}"


@dataclass(frozen=True)
class Versions:
    """The contents of versions.env."""

    trove: str
    python: str
    host_packages: tuple[str, ...]
    build_packages: tuple[str, ...]
    guest_packages: tuple[str, ...]
    image_packages: tuple[str, ...]
    vm_packages: tuple[str, ...]
    # Where Ubuntu's archive key is, and its SHA-256.
    ubuntu_keyring: tuple[str, str]
    # The one of each datastore that everybody gets.
    datastores: dict[str, Datastore]
    # Further series, for those who ask for them.
    more: tuple[Datastore, ...]

    @property
    def all(self) -> list[Datastore]:
        """Every datastore in every series, in an order that stays."""
        return [*self.datastores.values(), *self.more]

    def datastore(self, name: str, series: str | None = None) -> Datastore:
        """A datastore in one series, by default everybody's."""
        known = [self.datastores[name], *(d for d in self.more if d.name == name)]
        for datastore in known:
            if series in (None, datastore.series):
                return datastore
        named = ", ".join(datastore.series for datastore in known)
        raise LookupError(f"versions.env has {name} {named}, but not {series}")


@cache
def versions() -> Versions:
    """Parse versions.env; a missing key is a mistake in the repository."""
    values: dict[str, str] = {}
    for line in (LAB_DIR / "versions.env").read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            key, _, value = line.partition("=")
            values[key] = " ".join(shlex.split(value))

    def datastore(name: str, series: str, suite: str) -> Datastore:
        packages = values[f"{name.upper()}_PACKAGES"].format(series=series)
        return Datastore(name, suite, series, tuple(packages.split()))

    def default(name: str) -> Datastore:
        prefix = name.upper()
        return datastore(name, values[f"{prefix}_SERIES"], values[f"{prefix}_SUITE"])

    def more(name: str) -> list[Datastore]:
        pairs = values.get(f"{name.upper()}_MORE", "").split()
        return [datastore(name, *pair.split(":")) for pair in pairs]

    return Versions(
        trove=values["TROVE_VERSION"],
        python=values["PYTHON_SERIES"],
        host_packages=tuple(values["HOST_PACKAGES"].split()),
        build_packages=tuple(values["BUILD_PACKAGES"].split()),
        guest_packages=tuple(values["GUEST_PACKAGES"].split()),
        image_packages=tuple(values["IMAGE_PACKAGES"].split()),
        vm_packages=tuple(values["VM_PACKAGES"].split()),
        ubuntu_keyring=(values["UBUNTU_KEYRING"], values["UBUNTU_KEYRING_SHA256"]),
        datastores={name: default(name) for name in DATASTORES},
        more=tuple(found for name in DATASTORES for found in more(name)),
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


def patience() -> int:
    """How many times longer guests may take (TROVE_LAB_PATIENCE); emulated ones do."""
    return int(os.environ.get("TROVE_LAB_PATIENCE") or 1)


def digest(*parts: object) -> str:
    """A short, stable key for a cache entry made from `parts`."""
    text = "\0".join(str(part) for part in parts)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
