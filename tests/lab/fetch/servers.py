"""MySQL's server as a program of this machine, for tests without a guest.

The tree's binary needs the tree's C library. A copy with another interpreter
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

# The server, and its own reader of option files.
PROGRAMS = ("usr/sbin/mysqld", "usr/bin/my_print_defaults")
RECIPE = 2
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
    """A directory with usr/sbin/mysqld, usr/lib and usr/share."""

    def build(temporary: Path, _final: Path) -> None:
        with progress.step("MySQL server for this machine") as step:
            for name in PROGRAMS:
                link(tree, temporary, name, step)
            for name in ("lib", "share"):
                (temporary / "usr" / name).symlink_to(tree.path / "usr" / name)
            run([str(temporary / PROGRAMS[0]), "--no-defaults", "--version"], step)

    return cache.ensure("server-mysql", settings.digest(RECIPE, tree.path), build)
