"""Other versions of the server, asked for through the API.

A guest's image decides what is installed. The guest here gets a second series
while it runs: the programs that the lab has made fit for this machine, with the
libraries they name.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from backups.steps import Owner, created
from lab import network, settings
from lab.cache import Cache
from lab.fetch import servers, trees
from lab.lab import Lab
from lab.progress import Progress
from lab.waiting import eventually
from scenarios.conftest import DATABASE, PASSWORD, USER
from scenarios.day2 import LIMIT, refused, register, server, show, upgrade

OLD, NEW = "15", "17"
HOME = Path("usr/lib/postgresql")
# Compiles queries, with a library larger than everything else; the server does
# without.
COMPILER = "llvmjit"


# With xfs, whose files can be cloned; the others are tested without guests.
OPTIONS = "[DEFAULT]\nvolume_fstype = xfs\nformat_options = -f\n"


@pytest.fixture(scope="module")
def owner(lab: Lab) -> Iterator[Owner]:
    lab.offer("postgresql", OLD)
    before = lab.guest_conf.read_text()
    lab.guest_conf.write_text(before.replace("[DEFAULT]\n", OPTIONS, 1))
    try:
        with created(lab, "postgresql", megabytes=8, version=OLD) as owner:
            yield owner
    finally:
        lab.guest_conf.write_text(before)


def libraries(programs: Path) -> set[Path]:
    """What the programs load, and what loads it."""
    found = set()
    for program in programs.iterdir():
        lines = subprocess.run(["ldd", str(program)], capture_output=True, text=True)
        words = lines.stdout.split()
        found |= {Path(word) for word in words if word.startswith("/")}
    return found


def install(owner: Owner, series: str) -> None:
    """Put a series into the guest, beside its own."""
    with network.outside():
        cache, progress = Cache(settings.cache_dir()), Progress()
        wanted = settings.versions().datastore("postgresql", series)
        tree = trees.ensure(cache, wanted, progress)
        programs = servers.ensure(cache, tree, progress).parent
    root = programs.parents[4]
    shared = Path("usr/share/postgresql") / series
    parts = [(root, HOME / series / "bin"), (tree.path, HOME / series / "lib")]
    for base, path in [*parts, (tree.path, shared)]:
        put(owner, base, [str(path)])
    # The programs name them by their places on this machine.
    put(owner, Path("/"), sorted(str(each)[1:] for each in libraries(programs)))


def put(owner: Owner, base: Path, names: list[str]) -> None:
    pack = ["tar", "--create", "--directory", str(base), "--dereference"]
    pack += [f"--exclude=*{COMPILER}*", *names]
    with subprocess.Popen(pack, stdout=subprocess.PIPE) as packed:
        unpack = owner.guest.command(["tar", "--extract", "--directory=/"])
        subprocess.run(unpack, stdin=packed.stdout, check=True)
    assert packed.returncode == 0


def test_version_that_is_not_there(lab: Lab, owner: Owner) -> None:
    """The user sees an error, the log says what is installed, the server goes on."""
    datastore = settings.versions().datastore("postgresql", OLD)
    register(lab, "99-of-nobody", "99.1", datastore)
    told = refused(owner, "99-of-nobody", "PostgreSQL 99 is not installed")
    assert f"there is {OLD}" in told


def test_same_version(owner: Owner) -> None:
    before = server(owner)
    upgrade(owner, f"{OLD}-next")
    owner.guest.wait_message("of that version already", LIMIT)
    owner.trove.wait_active(owner.id)
    assert server(owner) == before


def test_next_series(owner: Owner) -> None:
    """Data, users and passwords come along; the next backup is a full one."""
    parent = owner.back_up("upgraded")
    install(owner, NEW)
    sums = owner.checksums("filler")
    upgrade(owner, NEW)
    # No healthy old server is taken for the new one.
    owner.trove.wait_status(owner.id, "UPGRADE")
    owner.trove.wait_active(owner.id, timeout=LIMIT)
    assert any("transfer=Clone" in message for message in owner.guest.messages())
    assert show(owner, "server_version").startswith(f"{NEW}.")
    assert owner.checksums("filler") == sums
    owner.write("upgraded")
    eventually(lambda: "Statistics of all tables" in "\n".join(owner.guest.messages()), 60)
    query = "select count(*) > 0 from pg_stats where tablename = 'filler'"
    client = owner.login(USER, PASSWORD, DATABASE)
    assert client.execute(query) == [["t"]]
    assert owner.guest.sh("ls /var/lib/postgresql/data").split() == [
        "pgdata",
        "replica.conf",
        "wal_archive",
    ]
    reason = owner.fail_to_back_up("upgraded", parent=parent.id)
    assert "full backup" in reason
    owner.back_up("upgraded")
    owner.trove.restart(owner.id)
    owner.trove.wait_active(owner.id)
    assert owner.told() == {"created", "upgraded"}
