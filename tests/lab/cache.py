"""Cache entries: built once, complete or absent, safe for concurrent labs."""

from __future__ import annotations

import fcntl
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on `path`; the kernel drops it if we die."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def remove_tree(path: Path) -> None:
    """Delete a directory but never what is mounted inside it."""
    subprocess.run(["rm", "-rf", "--one-file-system", str(path)], check=True)


class Cache:
    """Directories named `<name>-<key>` under one root."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, name: str, key: str) -> Path:
        """Where the entry is, or would be."""
        return self.root / f"{name}-{key}"

    def ensure(self, name: str, key: str, build: Callable[[Path, Path], None]) -> Path:
        """Return the entry, building it first if it is not there.

        `build(temporary, final)` fills `temporary`, which takes its final name
        only after everything in it is complete. Leftovers of a builder that
        died are removed by the next one, which holds the same lock.
        """
        final = self.path(name, key)
        if final.exists():
            return final
        with locked(self.root / f"{name}.lock"):
            if final.exists():
                return final
            temporary = self.root / f".building-{name}"
            remove_tree(temporary)
            temporary.mkdir(parents=True)
            build(temporary, final)
            os.rename(temporary, final)
        return final
