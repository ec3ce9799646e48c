"""Upstream's backup program, out of Trove's source distribution.

It is not in Trove's wheel: upstream ships it as an image for Docker. Its
libraries are those of the lab's own environment.
"""

from __future__ import annotations

from pathlib import Path

from lab import settings
from lab.cache import Cache, remove_tree
from lab.fetch.run import run
from lab.progress import Progress

DIRECTORY = "backup"


def ensure(cache: Cache, venv: Path, progress: Progress) -> Path:
    """The directory that holds the program's package `backup`."""
    version = settings.versions().trove

    def build(temporary: Path, _final: Path) -> None:
        with progress.step("Upstream's backup program") as step:
            pip = [str(venv / "bin/python"), "-m", "pip", "--no-input", "download"]
            source = ["--no-deps", "--no-binary=:all:", f"trove=={version}"]
            downloads = temporary / "download"
            run([*pip, "--progress-bar=off", f"--dest={downloads}", *source], step)
            (archive,) = downloads.glob("*.tar.gz")
            unpack = ["tar", f"--directory={temporary}", "--strip-components=1"]
            wanted = f"trove-{version}/{DIRECTORY}"
            run([*unpack, "--extract", f"--file={archive}", wanted], step)
            remove_tree(downloads)

    return cache.ensure("upstream-backup", settings.digest(version), build)
