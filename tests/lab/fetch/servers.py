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
from lab.progress import Progress

RECIPE = 1
LIBRARIES = "usr/lib/x86_64-linux-gnu"


def ensure(cache: Cache, tree: Tree, progress: Progress) -> Path:
    """A directory with usr/sbin/mysqld, usr/lib and usr/share."""

    def build(temporary: Path, _final: Path) -> None:
        with progress.step("MySQL server for this machine") as step:
            program = temporary / "usr/sbin/mysqld"
            program.parent.mkdir(parents=True)
            shutil.copy2(tree.path / "usr/sbin/mysqld", program)
            libraries = tree.path / LIBRARIES
            argv = ["patchelf", "--set-interpreter"]
            argv += [str(libraries / "ld-linux-x86-64.so.2"), "--force-rpath"]
            # usr/lib/mysql/private holds the server's own libraries.
            own = tree.path / "usr/lib/mysql/private"
            argv += ["--set-rpath", f"{libraries}:{own}", str(program)]
            run(argv, step)
            for name in ("lib", "share"):
                (temporary / "usr" / name).symlink_to(tree.path / "usr" / name)
            run([str(program), "--no-defaults", "--version"], step)

    return cache.ensure("server-mysql", settings.digest(RECIPE, tree.path), build)
