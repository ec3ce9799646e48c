"""Trove's own database: a MariaDB server that belongs to the lab."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

# The datadir is made with these and must be run with the same ones. Data is
# thrown away with the lab: nothing waits for the disk.
OPTIONS = (
    "--no-defaults",
    "--user=root",
    "--innodb-log-file-size=16M",
    "--innodb-buffer-pool-size=64M",
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-flush-method=nosync",
    "--innodb-doublewrite=0",
    "--skip-name-resolve",
)
USER = "trove"
PASSWORD = "tr0ve/db:p@ss"
DATABASE = "trove"
PORT = 3306


def create_datadir(datadir: Path) -> None:
    """Initialise an empty server without test database."""
    subprocess.run(
        [
            "mariadb-install-db",
            *OPTIONS,
            f"--datadir={datadir}",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
        ],
        check=True,
        capture_output=True,
    )


def command(datadir: Path, socket: Path, *, address: str | None) -> list[str]:
    """The server's command line; without `address` it has a socket only."""
    listen = (
        [f"--bind-address={address}", f"--port={PORT}"]
        if address
        else ["--skip-networking"]
    )
    return [
        "/usr/sbin/mariadbd",
        *OPTIONS,
        f"--datadir={datadir}",
        f"--socket={socket}",
        f"--pid-file={socket.with_suffix('.pid')}",
        *listen,
    ]


def sql(socket: Path, statement: str) -> str:
    """Run statements as root; tab-separated rows without header."""
    return subprocess.run(
        ["mariadb", "--no-defaults", "-uroot", f"--socket={socket}", "-BN"],
        input=statement,
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def wait_ready(socket: Path, timeout: float = 30.0) -> None:
    """Wait until the server answers a query."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            sql(socket, "select 1")
            return
        except subprocess.CalledProcessError as error:
            if time.monotonic() > deadline:
                raise TimeoutError(f"MariaDB does not answer: {error.stderr}") from None
            time.sleep(0.05)
