"""Trove's database with its schema and datastores, as a ready data directory.

Creating the schema and loading the validation rules takes half a minute; a
copy of the finished directory takes a fraction of a second.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from urllib.parse import quote

from lab import mariadb, settings
from lab.cache import Cache
from lab.controlplane.offers import offers
from lab.fetch.run import run
from lab.fetch.trees import Tree
from lab.progress import Progress

REGISTER = settings.LAB_DIR / "controlplane" / "register.py"


def _key(venv: Path, trees: dict[str, Tree]) -> str:
    server = subprocess.run(
        ["/usr/sbin/mariadbd", "--version"], check=True, capture_output=True, text=True
    ).stdout
    options = (mariadb.OPTIONS, mariadb.USER, mariadb.PASSWORD, mariadb.DATABASE)
    return settings.digest(
        venv.name,
        offers(trees.values()),
        server,
        options,
        REGISTER.read_text(),
        Path(__file__).read_text(),
    )


def find(cache: Cache, venv: Path, trees: dict[str, Tree]) -> Path | None:
    """The data directory if it is in the cache."""
    path = cache.path("database", _key(venv, trees))
    return path if path.exists() else None


def ensure(
    cache: Cache, venv: Path, trees: dict[str, Tree], progress: Progress
) -> Path:
    """Build the data directory with Trove's own programs and functions."""

    def build(temporary: Path, _final: Path) -> None:
        with progress.step("Trove's database") as step:
            datadir = temporary / "data"
            socket = temporary / "s.sock"
            mariadb.create_datadir(datadir)
            server = subprocess.Popen(
                mariadb.command(datadir, socket, address=None),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            try:
                mariadb.wait_ready(socket)
                mariadb.sql(
                    socket,
                    f"create database {mariadb.DATABASE} character set utf8mb3;"
                    f"create user {mariadb.USER}@'%' identified by '{mariadb.PASSWORD}';"
                    f"grant all on {mariadb.DATABASE}.* to {mariadb.USER}@'%'",
                )
                config = temporary / "trove.conf"
                connection = (
                    f"mysql+pymysql://root@localhost/{mariadb.DATABASE}"
                    f"?unix_socket={quote(str(socket))}"
                )
                config.write_text(f"[database]\nconnection = {connection}\n")
                manage = [str(venv / "bin/trove-manage"), f"--config-file={config}"]
                run([*manage, "db_sync"], step)
                python = [str(venv / "bin/python"), "-W", "ignore"]
                run([*python, str(REGISTER), str(config), offers(trees.values())], step)
            finally:
                server.terminate()
                server.wait()
            config.unlink(missing_ok=True)

    return cache.ensure("database", _key(venv, trees), build)
