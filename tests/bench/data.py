"""A server with much data, made once: half of its bytes are random."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from lab import settings
from lab.cache import Cache
from lab.lab import Lab
from lab.local_server import LocalServer
from lab.progress import Progress

TABLES = 8
# Raise it when what is made changes.
RECIPE = 1
# 1 KiB that cannot be compressed and 1 KiB like an application's records.
ROW = (
    "select seq, random_bytes(1024), concat("
    + ", ".join(
        f"'{{\"order\": ', seq * {n}, ', \"customer\": \"', md5(seq div {n}), "
        "'\", \"state\": \"delivered\", \"currency\": \"EUR\", \"items\": [1, 2, 3]}'"
        for n in range(1, 9)
    )
    + ")"
)


def made(lab: Lab, rows: int, progress: Progress) -> Path:
    """A stopped server's directory, in the cache. It is not to be changed."""

    def build(temporary: Path, _final: Path) -> None:
        with progress.step(f"Data of {TABLES} x {rows} rows") as step:
            server = LocalServer(lab, lab.backup_tools(), temporary)
            try:
                server.create()
                server.sql("create database bench")
                for number in range(TABLES):
                    step.detail = f"table {number}"
                    _fill(server, number, rows)
            finally:
                server.stop()
            # What differs with the machine is made anew at every start.
            shutil.rmtree(temporary / "run")

    key = settings.digest(RECIPE, TABLES, rows, ROW, lab.backup_tools().programs)
    return Cache(settings.cache_dir()).ensure("bench-data", key, build)


def _fill(server: LocalServer, number: int, rows: int) -> None:
    server.sql(
        f"use bench; create table t{number} (id int primary key, noise blob, record text)"
        f" engine=innodb; insert into t{number} {ROW} from seq_1_to_{rows}"
    )


def served(lab: Lab, source: Path, directory: Path) -> LocalServer:
    """A running server on a copy of the data, as one in a guest."""
    subprocess.run(["cp", "-a", "--reflink=auto", str(source), str(directory)], check=True)
    server = LocalServer(lab, lab.backup_tools(), directory, as_guest=True)
    server.start()
    return server


def sums(server: LocalServer) -> list[list[str]]:
    """The server's own checksums of all tables."""
    names = ", ".join(f"bench.t{number}" for number in range(TABLES))
    return server.sql(f"checksum table {names}")
