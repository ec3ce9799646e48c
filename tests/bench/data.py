"""Servers with much data, made once: half of its bytes are random."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

from lab import settings
from lab.cache import Cache
from lab.lab import Lab
from lab.local_postgresql import LocalPostgresql
from lab.local_server import LocalServer
from lab.progress import Progress
from lab.room import Tools

DATABASE = "bench"
TABLES = 8
# Raise it when what is made changes.
RECIPE = 2


def _record(divided: str) -> str:
    """1 KiB like an application's records, made of `seq`, as SQL's words."""
    return ", ".join(
        f"'{{\"order\": ', seq * {n}, ', \"customer\": \"', md5({divided.format(n)}), "
        "'\", \"state\": \"delivered\", \"currency\": \"EUR\", \"items\": [1, 2, 3]}'"
        for n in range(1, 9)
    )


class MariaDb:
    """The data in MariaDB."""

    datastore = "mariadb"
    dropped = ("run",)
    # 1 KiB that cannot be compressed and one that can.
    row = f"select seq, random_bytes(1024), concat({_record('seq div {}')})"

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.tools: Tools = lab.backup_tools(self.datastore)

    def server(self, directory: Path, *, as_guest: bool = False) -> LocalServer:
        return LocalServer(self.lab, self.tools, directory, as_guest=as_guest)

    def create(self, server: Any) -> None:
        server.create()
        server.sql(f"create database {DATABASE}")

    def fill(self, server: Any, number: int, rows: int) -> None:
        server.sql(
            f"use {DATABASE}; create table t{number} "
            "(id int primary key, noise blob, record text)"
            f" engine=innodb; insert into t{number} {self.row} from seq_1_to_{rows}"
        )

    def sums(self, server: Any) -> list[list[str]]:
        """The server's own checksums of all tables."""
        names = ", ".join(f"{DATABASE}.t{number}" for number in range(TABLES))
        return server.sql(f"checksum table {names}")

    def start_restored(self, server: Any) -> None:
        server.start(without_accounts=True)


class PostgreSql:
    """The same data in PostgreSQL."""

    datastore = "postgresql"
    # The log of how the data was made is twice as large as the data.
    dropped = ("run", "data/wal_archive")
    # The random bytes have to depend on the row, or all rows get the same.
    row = (
        "select seq, (select string_agg(sha256((random()::text || seq || n)::bytea), '')"
        f" from generate_series(1, 32) n), concat({_record('(seq / {})::text')})"
    )

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.tools: Tools = lab.backup_tools(self.datastore)

    def server(self, directory: Path, *, as_guest: bool = True) -> LocalPostgresql:
        return LocalPostgresql(self.lab, self.tools, directory)

    def create(self, server: Any) -> None:
        server.create()
        server.sql(f"create database {DATABASE}")

    def fill(self, server: Any, number: int, rows: int) -> None:
        # Plain: the server would compress what others leave as it is.
        server.sql(
            f"create table t{number} (id int primary key, noise bytea storage plain, "
            "record text storage plain);"
            f"insert into t{number} {self.row} from generate_series(1, {rows}) seq",
            DATABASE,
        )
        # Or the server does it in the first of the runs.
        server.sql(f"vacuum (freeze, analyze) t{number}", DATABASE)
        server.sql("checkpoint", DATABASE)

    def sums(self, server: Any) -> list[list[str]]:
        """Checksums of all tables that the server makes."""
        query = "select count(*), sum(hashtextextended(t::text, 0)) from t{} t"
        return [server.sql(query.format(n), DATABASE)[0] for n in range(TABLES)]

    def start_restored(self, server: Any) -> None:
        server.start(recover=True)


Data = MariaDb | PostgreSql
Server = LocalServer | LocalPostgresql


def made(data: Data, rows: int, progress: Progress) -> Path:
    """A stopped server's directory, in the cache. It is not to be changed."""

    def build(temporary: Path, _final: Path) -> None:
        label = f"Data of {TABLES} x {rows} rows in {data.datastore}"
        with progress.step(label) as step:
            server = data.server(temporary)
            try:
                data.create(server)
                for number in range(TABLES):
                    step.detail = f"table {number}"
                    data.fill(server, number, rows)
            finally:
                server.stop()
            # What differs with the machine is made anew at every start.
            for directory in data.dropped:
                shutil.rmtree(temporary / directory)

    key = settings.digest(RECIPE, TABLES, rows, data.row, data.tools.programs)
    return Cache(settings.cache_dir()).ensure("bench-data", key, build)


def served(data: Data, source: Path, directory: Path) -> Server:
    """A running server on a copy of the data, as one in a guest."""
    subprocess.run(["cp", "-a", "--reflink=auto", str(source), str(directory)], check=True)
    server = data.server(directory, as_guest=True)
    server.start()
    return server
