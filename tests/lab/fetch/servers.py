"""Database servers as programs of this machine, for tests without a guest.

A tree's binary needs the tree's C library. A copy with another interpreter
and library path runs from anywhere; everything else is linked to the tree.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from lab import settings
from lab.cache import Cache
from lab.fetch.run import run
from lab.fetch.trees import Tree
from lab.progress import Progress, Step

# The server first, then what it is initialised with, its backup tools, and
# what upgrades system tables.
PROGRAMS = {
    "mysql": ("usr/sbin/mysqld", "usr/bin/my_print_defaults"),
    "mariadb": (
        "usr/sbin/mariadbd",
        "usr/bin/my_print_defaults",
        "usr/bin/resolveip",
        "usr/bin/mariadb-backup",
        "usr/bin/mbstream",
        "usr/bin/mariadb-upgrade",
        "usr/bin/mariadb",
        "usr/bin/mariadb-check",
    ),
}
RECIPE = 5
LIBRARIES = "usr/lib/x86_64-linux-gnu"


def link(tree: Tree, directory: Path, name: str, step: Step) -> None:
    """Copy a program of the tree and point it at the tree's libraries."""
    program = directory / name
    program.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(tree.path / name, program)
    libraries = tree.path / LIBRARIES
    # usr/lib/mysql/private holds the server's own libraries.
    own = tree.path / "usr/lib/mysql/private"
    argv = ["patchelf", "--set-interpreter"]
    argv += [str(libraries / "ld-linux-x86-64.so.2"), "--force-rpath"]
    run([*argv, "--set-rpath", f"{libraries}:{own}", str(program)], step)


def ensure(cache: Cache, tree: Tree, progress: Progress) -> Path:
    """A directory with the programs, usr/lib and usr/share; the server's path."""
    name = tree.datastore
    if name == "postgresql":
        return _ensure_postgresql(cache, tree, progress)
    server = PROGRAMS[name][0]

    def build(temporary: Path, _final: Path) -> None:
        with progress.step(f"{name} server for this machine") as step:
            for program in PROGRAMS[name]:
                link(tree, temporary, program, step)
            for linked in ("lib", "share"):
                (temporary / "usr" / linked).symlink_to(tree.path / "usr" / linked)
            run([str(temporary / server), "--no-defaults", "--version"], step)

    key = settings.digest(RECIPE, tree.path)
    return cache.ensure(f"server-{name}", key, build) / server


def _ensure_postgresql(cache: Cache, tree: Tree, progress: Progress) -> Path:
    """The same for PostgreSQL, whose programs look for one another.

    They find modules and data by the way from their own directory, so that it
    has to be where it is in the tree.
    """
    series = tree.series
    home = Path("usr/lib/postgresql") / series

    def build(temporary: Path, _final: Path) -> None:
        with progress.step(f"postgresql {series} server for this machine") as step:
            for program in sorted((tree.path / home / "bin").iterdir()):
                link(tree, temporary, str(home / "bin" / program.name), step)
            (temporary / home / "lib").symlink_to(tree.path / home / "lib")
            (temporary / "usr/share").symlink_to(tree.path / "usr/share")
            run([str(temporary / home / "bin/postgres"), "--version"], step)

    key = settings.digest(RECIPE, tree.path)
    return cache.ensure("server-postgresql", key, build) / home / "bin/postgres"
