"""A client that writes without a pause and remembers what it was promised.

Rows are numbered from 1. A number is written again until its commit is
acknowledged, so that the numbers a server has lost are those that are missing
among the acknowledged ones.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any

import psycopg2
import pymysql

# Between two attempts to reach a server that does not answer or refuses.
PAUSE = 0.05
# What the drivers raise, for a server that is gone as for one that is read only.
ERRORS = (psycopg2.Error, pymysql.MySQLError, OSError)
DUPLICATES = (psycopg2.errors.UniqueViolation, pymysql.IntegrityError)
TABLE = "written"


@dataclass(frozen=True)
class Login:
    """Where to write, and as whom."""

    datastore: str
    host: str
    user: str
    password: str
    database: str

    def connect(self) -> Any:
        """A connection of the datastore's driver; every statement is a commit."""
        names = {"user": self.user, "password": self.password, "host": self.host}
        if self.datastore == "postgresql":
            connection = psycopg2.connect(
                **names, dbname=self.database, connect_timeout=5, sslmode="prefer"
            )
            connection.autocommit = True
            return connection
        return pymysql.connect(
            **names,
            database=self.database,
            connect_timeout=5,
            read_timeout=10,
            write_timeout=10,
            autocommit=True,
        )


class Writer:
    """Writes in a thread of its own while the `with` block runs.

    The thread that enters must be inside the lab's network. `note` is asked
    after every commit, on the same connection; its answers are in `notes`.
    """

    def __init__(self, login: Login, note: str = "") -> None:
        self._login = login
        self._hosts = [login.host]
        self._note = note
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._changed = threading.Condition()
        self.acknowledged = 0
        # By number: when it was acknowledged, and what was noted then.
        self.times: dict[int, float] = {}
        self.notes: dict[int, Any] = {}
        self.last_error: Exception | None = None

    def __enter__(self) -> Writer:
        connection = self._login.connect()
        with connection.cursor() as cursor:
            cursor.execute(f"drop table if exists {TABLE}")
            cursor.execute(f"create table {TABLE} (n int primary key)")
        connection.close()
        self._thread.start()
        self.wait_more(1)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> int:
        """End; the number of acknowledged rows."""
        self._stop.set()
        self._thread.join(60)
        if self._thread.is_alive():
            raise TimeoutError("the writer does not end")
        return self.acknowledged

    def offer(self, host: str) -> None:
        """Another server to write to when the present one does not let us."""
        self._hosts.append(host)

    def wait_more(self, count: int, timeout: float = 60.0) -> int:
        """Wait until `count` more rows are acknowledged; the last number."""
        with self._changed:
            wanted = self.acknowledged + count
            if not self._changed.wait_for(lambda: self.acknowledged >= wanted, timeout):
                raise TimeoutError(
                    f"{self.acknowledged} of {wanted} rows after {timeout} s; "
                    f"last error: {self.last_error}"
                )
            return self.acknowledged

    def _run(self) -> None:
        connection, turn = None, 0
        while not self._stop.is_set():
            try:
                if connection is None:
                    host = self._hosts[turn % len(self._hosts)]
                    connection = replace(self._login, host=host).connect()
                self._write(connection)
            except ERRORS as error:
                self.last_error = error
                _close(connection)
                connection, turn = None, turn + 1
                self._stop.wait(PAUSE)
        _close(connection)

    def _write(self, connection: Any) -> None:
        number = self.acknowledged + 1
        with connection.cursor() as cursor:
            # An attempt whose answer was lost may have been a commit.
            with suppress(*DUPLICATES):
                cursor.execute(f"insert into {TABLE} values ({number})")
            if self._note:
                cursor.execute(self._note)
                ((self.notes[number],),) = cursor.fetchall()
        self.times[number] = time.monotonic()
        with self._changed:
            self.acknowledged = number
            self._changed.notify_all()

    def longest_pause(self) -> float:
        """The longest time between two acknowledged rows, in seconds."""
        return self._pause()[0]

    def after_pause(self) -> float:
        """When that ended."""
        return self._pause()[1]

    def _pause(self) -> tuple[float, float]:
        times = [self.times[number] for number in sorted(self.times)]
        return max(((b - a, b) for a, b in zip(times, times[1:])), default=(0.0, 0.0))


def _close(connection: Any) -> None:
    if connection is not None:
        with suppress(*ERRORS):
            connection.close()


def missing(count: int, execute: Callable[[str], list[list[str]]]) -> list[int]:
    """The numbers up to `count` that a server does not have."""
    rows = execute(f"select n from {TABLE} where n <= {count}")
    return sorted(set(range(1, count + 1)) - {int(row[0]) for row in rows})
