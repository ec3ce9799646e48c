"""The pinned Python environment: Trove, its clients, the tests' own tools."""

from __future__ import annotations

from pathlib import Path

from lab import settings
from lab.cache import Cache
from lab.fetch.run import run
from lab.progress import Progress

SYSTEM_PYTHON = "/usr/bin/python3"


def _key() -> str:
    pinned = settings.REQUIREMENTS.read_text()
    return settings.digest(settings.versions().python, pinned)


def find(cache: Cache) -> Path | None:
    """The environment's directory if it is in the cache."""
    path = cache.path("venv", _key())
    return path if path.exists() else None


def ensure(cache: Cache, progress: Progress) -> Path:
    """Create the environment from requirements.txt."""

    def build(temporary: Path, final: Path) -> None:
        with progress.step("Python environment") as step:
            run([SYSTEM_PYTHON, "-m", "venv", str(temporary)], step)
            # --no-deps: requirements.txt is complete, nothing floats.
            pip = [str(temporary / "bin/python"), "-m", "pip", "--no-input"]
            pinned = ["--no-deps", "-r", str(settings.REQUIREMENTS)]
            run(pip + ["install", "--progress-bar=off", *pinned], step)
            run(pip + ["check"], step)
            _relocate(temporary, final)

    return cache.ensure("venv", _key(), build)


def _relocate(temporary: Path, final: Path) -> None:
    """Point the scripts' first lines at the place the directory moves to."""
    for script in (temporary / "bin").iterdir():
        if script.is_file() and not script.is_symlink():
            content = script.read_bytes()
            moved = content.replace(bytes(temporary), bytes(final))
            if moved != content:
                script.write_bytes(moved)
    # The copied configuration files (api-paste.ini) hold no paths.
