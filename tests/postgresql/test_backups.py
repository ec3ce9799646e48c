"""What backups of PostgreSQL promise: every commit up to their end.

One instance, busy with pgbench and with a writer that remembers the place of
every commit in the server's log.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from backups.steps import LIMIT, Owner, Record, created, restored, restoring
from lab import network
from lab.clients.writer import Login, Writer, missing
from lab.lab import Lab
from scenarios.conftest import DATABASE, PASSWORD, USER

PLACE = "select pg_current_wal_insert_lsn()"
# Every transaction of pgbench adds the same amount to all four.
SUMS = (
    "select (select sum(abalance) from pgbench_accounts),"
    " (select sum(bbalance) from pgbench_branches),"
    " (select sum(tbalance) from pgbench_tellers),"
    " (select coalesce(sum(delta), 0) from pgbench_history)"
)


@pytest.fixture(scope="module")
def busy(lab: Lab) -> Iterator[Owner]:
    with created(lab, "postgresql", size=2) as owner:
        subprocess.run(pgbench(owner, "--initialize", "--scale=5", "--quiet"), check=True)
        yield owner


def pgbench(owner: Owner, *arguments: str) -> list[str]:
    client = owner.login(USER, PASSWORD, DATABASE)
    tree = client.tree
    (program,) = tree.glob("usr/lib/postgresql/*/bin/pgbench")
    login = [f"--host={client.host}", f"--username={USER}", DATABASE]
    secret = ["env", f"PGPASSWORD={PASSWORD}"]
    inside = ["chroot", str(tree), f"/{program.relative_to(tree)}", *arguments, *login]
    return network.entering(owner.lab.name, [*secret, *inside])


@contextmanager
def load(owner: Owner) -> Iterator[None]:
    """Four clients of pgbench, for as long as the block takes."""
    argv = pgbench(owner, "--client=4", "--jobs=2", "--time=600", "--no-vacuum")
    bench = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        yield
        assert bench.poll() is None, bench.communicate()[1]
    finally:
        bench.terminate()
        bench.communicate()


def position(text: str) -> int:
    """A place in the log as a number: places are not ordered as texts."""
    high, low = text.split("/")
    return int(high, 16) << 32 | int(low, 16)


def end_of(owner: Owner, made: Record) -> int:
    headers = owner.objects.head(made.container, made.object)
    return position(headers["x-object-meta-stop-segment"])


def check_copy(copy: Owner, writer: Writer, end: int) -> int:
    """Nothing that was acknowledged before `end` is missing, and what is there
    is one moment; the last number that must be there."""
    before = [n for n, note in writer.notes.items() if position(note) <= end]
    assert before
    client = copy.login(USER, PASSWORD, DATABASE)
    assert missing(max(before), client.execute) == []
    rows = [int(row[0]) for row in client.execute("select n from written order by n")]
    assert rows == list(range(1, len(rows) + 1))
    ((accounts, branches, tellers, history),) = client.execute(SUMS)
    assert accounts == branches == tellers == history
    assert int(client.execute("select count(*) from pgbench_history")[0][0]) > 0
    return max(before)


def test_backups_under_load_have_every_commit(
    lab: Lab, busy: Owner, container: str
) -> None:
    """A full backup, an increment of it, one of that, and a second of the first.

    The last is not of the newest backup: what it needs begins earlier.
    """
    login = Login("postgresql", busy.address, USER, PASSWORD, DATABASE)
    with Writer(login, PLACE) as writer, load(busy):
        writer.wait_more(100)
        full = busy.back_up(container)
        writer.wait_more(100)
        first = busy.back_up(container, parent=full.id)
        writer.wait_more(100)
        second = busy.back_up(container, parent=first.id)
        writer.wait_more(100)
        aside = busy.back_up(container, parent=full.id)
        writer.wait_more(100)
    sizes = busy.objects.list(container)
    assert set(sizes) >= {each.object for each in (full, first, second, aside)}
    wanted = (full, second, aside)
    with ExitStack() as stack:
        copies = [
            stack.enter_context(restoring(lab, "postgresql", each.id, size=2))
            for each in wanted
        ]
        lasts = []
        for copy, made in zip(copies, wanted):
            copy.address = copy.trove.address(copy.trove.wait_active(copy.id, LIMIT))
            lasts.append(check_copy(copy, writer, end_of(busy, made)))
    assert lasts == sorted(set(lasts))
    # Users are not held up, either.
    assert writer.longest_pause() < 10


def test_a_copy_can_be_backed_up(lab: Lab, busy: Owner, container: str) -> None:
    """It has a history of its own from its restore on; an increment of a backup
    that it has made itself restores, too."""
    busy.write("before the copy")
    with restored(lab, "postgresql", busy.back_up(container).id, size=2) as copy:
        copy.write("in the copy")
        full = copy.back_up(container)
        copy.write("in the copy, later")
        made = copy.back_up(container, parent=full.id)
        with restored(lab, "postgresql", made.id, size=2) as second:
            assert second.told() == copy.told()
    assert "in the copy" not in busy.told()
