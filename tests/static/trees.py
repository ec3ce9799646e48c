"""Debian roots whose name services kill a static binary that uses them."""

from __future__ import annotations

import shlex
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from lab import settings
from lab.cache import Cache
from lab.fetch import trees
from lab.fetch.run import BuildError, run
from lab.progress import Progress, Step

# Part of the key: raise it when build() below changes.
RECIPE = 1


@dataclass(frozen=True)
class Release:
    """A Debian release and the series of its glibc."""

    suite: str
    glibc: str


def _versions() -> tuple[list[Release], list[str]]:
    """Releases and packages as lab/versions.env names them."""
    lines = (settings.LAB_DIR / "versions.env").read_text().splitlines()
    pairs = (line.split("=", 1) for line in lines if line.startswith("STATIC_"))
    values = {key: shlex.split(value)[0].split() for key, value in pairs}
    releases = [Release(*root.split(":")) for root in values["STATIC_ROOTS"]]
    return releases, values["STATIC_PACKAGES"]


RELEASES, PACKAGES = _versions()


def _key(release: Release) -> str:
    return settings.digest(RECIPE, release, PACKAGES)


def cached() -> bool:
    """Whether nothing has to be fetched."""
    cache = Cache(settings.cache_dir())
    return all(cache.path(f"static-{r.suite}", _key(r)).exists() for r in RELEASES)


def ensure(progress: Progress) -> dict[str, Path]:
    """Every release's root directory; builds those that are missing."""
    with ThreadPoolExecutor() as pool:
        built = pool.map(lambda release: _ensure(release, progress), RELEASES)
        return {release.suite: path for release, path in zip(RELEASES, built)}


def _ensure(release: Release, progress: Progress) -> Path:
    def build(temporary: Path, _final: Path) -> None:
        with progress.step(f"Root of Debian {release.suite}") as step:
            _bootstrap(release, temporary / "root", step)

    cache = Cache(settings.cache_dir())
    return cache.ensure(f"static-{release.suite}", _key(release), build) / "root"


def _bootstrap(release: Release, root: Path, step: Step) -> None:
    # The release's own archive only: security suites of old releases are taken
    # down package by package, and libraries keep their interfaces anyway.
    archive = trees.sources(release.suite)[0]
    run(
        [
            "mmdebstrap",
            "--mode=root",
            "--variant=minbase",
            "--include=" + ",".join(PACKAGES),
            '--aptopt=APT::Install-Recommends "false"',
            # The signatures of old releases are valid, their dates are past.
            '--aptopt=Acquire::Check-Valid-Until "false"',
            "--dpkgopt=force-unsafe-io",
            "--dpkgopt=path-exclude=/usr/share/man/*",
            "--dpkgopt=path-exclude=/usr/share/doc/*",
            release.suite,
            str(root),
            archive,
        ],
        step,
    )
    query = ["dpkg-query", "--show", "--showformat=${Version}", "libc6"]
    version = trees.run_in(root, *query)
    if not version.startswith(release.glibc + "-"):
        raise BuildError(
            f"{release.suite} has glibc {version}, versions.env names {release.glibc}"
        )
