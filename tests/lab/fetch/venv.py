"""The pinned Python environments: Trove with its clients, Swift, diskimage-builder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lab import settings
from lab.cache import Cache
from lab.fetch.run import run
from lab.progress import Progress

SYSTEM_PYTHON = "/usr/bin/python3"


@dataclass(frozen=True)
class Environment:
    """One virtual environment and the file that names its packages."""

    name: str
    label: str
    requirements: Path

    def key(self) -> str:
        pinned = self.requirements.read_text()
        return settings.digest(settings.versions().python, pinned)


# Trove, its clients, the tests' own tools.
LAB = Environment("venv", "Python environment", settings.REQUIREMENTS)
# Apart from the first: only those who make backups pay for it.
SWIFT = Environment("venv-swift", "Swift", settings.SWIFT_REQUIREMENTS)
# What builds guest images.
IMAGE = Environment("venv-image", "diskimage-builder", settings.IMAGE_REQUIREMENTS)


def find(cache: Cache, environment: Environment = LAB) -> Path | None:
    """The environment's directory if it is in the cache."""
    path = cache.path(environment.name, environment.key())
    return path if path.exists() else None


def ensure(
    cache: Cache, progress: Progress, environment: Environment = LAB
) -> Path:
    """Create the environment from its requirements."""

    def build(temporary: Path, final: Path) -> None:
        with progress.step(environment.label) as step:
            run([SYSTEM_PYTHON, "-m", "venv", str(temporary)], step)
            # --no-deps: the requirements are complete, nothing floats.
            pip = [str(temporary / "bin/python"), "-m", "pip", "--no-input"]
            pinned = ["--no-deps", "-r", str(environment.requirements)]
            run(pip + ["install", "--progress-bar=off", *pinned], step)
            run(pip + ["check"], step)
            _relocate(temporary, final)

    return cache.ensure(environment.name, environment.key(), build)


def _relocate(temporary: Path, final: Path) -> None:
    """Point the scripts' first lines at the place the directory moves to."""
    for script in (temporary / "bin").iterdir():
        if script.is_file() and not script.is_symlink():
            content = script.read_bytes()
            moved = content.replace(bytes(temporary), bytes(final))
            if moved != content:
                script.write_bytes(moved)
    # The copied configuration files (api-paste.ini) hold no paths.
