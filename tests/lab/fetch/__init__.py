"""Fetching and building what a lab is made of; idempotent."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from lab import settings
from lab.cache import Cache
from lab.fetch import database, host, servers, trees, upstream, venv
from lab.fetch.trees import Tree
from lab.progress import Progress


@dataclass(frozen=True)
class Parts:
    """Everything `up` needs, ready in the cache."""

    venv: Path
    trees: dict[str, Tree]
    database: Path


def fetch(progress: Progress) -> Parts:
    """Make sure that all parts are there; quick when they are.

    The Python packages and the guest trees come from different servers and
    keep different resources busy, so they are made at the same time.
    """
    host.ensure_packages(progress)
    cache = Cache(settings.cache_dir())
    datastores = settings.versions().datastores.values()
    with ThreadPoolExecutor() as pool:
        python = pool.submit(venv.ensure, cache, progress)
        building = [pool.submit(trees.ensure, cache, d, progress) for d in datastores]
        made = {tree.datastore: tree for tree in (f.result() for f in building)}
        interpreter = python.result()
    return Parts(
        venv=interpreter,
        trees=made,
        database=database.ensure(cache, interpreter, made, progress),
    )


@dataclass(frozen=True)
class BackupParts:
    """What only backups need."""

    swift: Path  # Swift's Python environment
    upstream: Path  # holds upstream's backup program
    tools: Path  # usr of MariaDB's programs for this machine


def fetch_for_backups(parts: Parts, progress: Progress) -> BackupParts:
    """Make sure that it is there; quick when it is."""
    cache = Cache(settings.cache_dir())
    return BackupParts(
        swift=venv.ensure(cache, progress, venv.SWIFT),
        upstream=upstream.ensure(cache, parts.venv, progress),
        tools=servers.ensure(cache, parts.trees["mariadb"], progress).parents[1],
    )


def fetched() -> Parts | None:
    """The parts if all of them are in the cache already, without building."""
    cache = Cache(settings.cache_dir())
    python = venv.find(cache)
    found = [trees.find(cache, d) for d in settings.versions().datastores.values()]
    if python is None or any(tree is None for tree in found):
        return None
    made = {tree.datastore: tree for tree in found if tree is not None}
    snapshot = database.find(cache, python, made)
    return None if snapshot is None else Parts(python, made, snapshot)
