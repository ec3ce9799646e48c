"""One run of mixed calls, backups, restarts and broken connections. `make soak`.

An agent of each datastore does what tenants ask for, again and again, while the
broker crashes every few minutes. What it holds must not grow.
"""

from __future__ import annotations

import json
import os
import re
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median

from backups.steps import Owner
from lab import rabbitmq
from lab.clients.trove import ApiError
from lab.lab import Lab
from lab.waiting import eventually
from scenarios.conftest import DATABASE
from scenarios.together import all_created, at_once

# An hour, unless told otherwise.
SECONDS = float(os.environ.get("TROVE_SOAK", "3600"))
BROKER_EVERY = min(300.0, SECONDS / 4)
# Rounds between two backups, and two restarts of the database.
BACKUP_EVERY, RESTART_EVERY = 8, 25
# Between two looks at what the agents hold.
LOOK = min(15.0, SECONDS / 40)
# How long the broker's crash may be felt.
FELT = 60.0
# Growth from the second quarter to the last that is none.
MEMORY_SLACK, COUNT_SLACK = 3 << 20, 3

# What the agent holds: bytes of its own, descriptors, threads.
HELD = """\
pid=$(systemctl show --property=MainPID --value trove-guestagent)
sed -n 's/^RssAnon:[^0-9]*\\([0-9]*\\) kB/\\1/p; s/^Threads:[^0-9]*//p' /proc/$pid/status
ls /proc/$pid/fd | wc -l
echo $pid
"""


@dataclass
class Soaked:
    """One instance, what was done to it, and what its agent held meanwhile."""

    owner: Owner
    calls: Counter[str] = field(default_factory=Counter)
    held: list[tuple[int, int, int]] = field(default_factory=list)
    pids: set[int] = field(default_factory=set)

    def look(self) -> None:
        memory, threads, files, pid = map(int, self.owner.guest.sh(HELD).split())
        self.held.append((memory << 10, files, threads))
        self.pids.add(pid)


class Crashes:
    """When the broker was last away."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self.last = float("-inf")
        self.count = 0

    def crash(self) -> None:
        self.last = time.monotonic()
        self._lab.kill_broker()
        self._lab.start_broker()
        rabbitmq.wait_ready()
        self.last = time.monotonic()
        self.count += 1

    def felt(self) -> bool:
        """Whether a failure of a call is no wonder."""
        return time.monotonic() - self.last < FELT


def _round(one: Soaked, number: int) -> None:
    """What a tenant does on a busy day; each effect is looked for."""
    owner, trove = one.owner, one.owner.trove
    name = f"n{uuid.uuid4().hex[:10]}"

    def done(call: str) -> None:
        one.calls[call] += 1

    trove.create_databases(owner.id, {"name": name})
    eventually(lambda: name in trove.databases(owner.id), FELT)
    done("databases")
    trove.create_users(owner.id, {"name": name, "password": "s3cret", "databases": []})
    eventually(lambda: name in {user["name"] for user in trove.users(owner.id)}, FELT)
    trove.grant(owner.id, name, name)
    eventually(lambda: trove.access(owner.id, name) == [name], FELT)
    trove.change_passwords(owner.id, {"name": name, "password": "an0ther"})
    done("users")
    if number % BACKUP_EVERY == 0:
        backup = owner.backups.create(name, owner.id)
        ended = owner.backups.wait_end(backup)
        owner.backups.delete(backup)
        assert ended["status"] == "COMPLETED", trove.instance(owner.id).get("fault")
        done("backups")
    if number % RESTART_EVERY == RESTART_EVERY - 1:
        trove.restart(owner.id)
        trove.wait_active(owner.id)
        done("restarts")
    trove.delete_user(owner.id, name)
    eventually(lambda: name not in {user["name"] for user in trove.users(owner.id)}, FELT)
    trove.delete_database(owner.id, name)
    eventually(lambda: name not in trove.databases(owner.id), FELT)
    done("rounds")


class Run:
    """What lasts until its time is over or somebody fails."""

    def __init__(self) -> None:
        self._end = time.monotonic() + SECONDS
        self._failed = threading.Event()

    def left(self) -> float:
        """Seconds."""
        return 0.0 if self._failed.is_set() else self._end - time.monotonic()

    def pause(self, seconds: float) -> None:
        self._failed.wait(max(min(seconds, self.left()), 0.0))

    @contextmanager
    def part(self) -> Iterator[None]:
        """The others need not go on when this fails."""
        try:
            yield
        except BaseException:
            self._failed.set()
            raise


def _work(one: Soaked, crashes: Crashes, run: Run) -> None:
    number = 0
    while run.left() > 0:
        try:
            _round(one, number)
        except (ApiError, AssertionError, TimeoutError):
            # Trove itself loses a call whose message the broker had.
            if not crashes.felt():
                raise
            one.calls["broken off"] += 1
        number += 1


def _watch(soaked: list[Soaked], crashes: Crashes, run: Run) -> None:
    crash_at = time.monotonic() + BROKER_EVERY
    while run.left() > 0:
        run.pause(LOOK)
        for one in soaked:
            one.look()
        if time.monotonic() > crash_at and run.left() > FELT:
            crashes.crash()
            crash_at = time.monotonic() + BROKER_EVERY


def test_nothing_grows(lab: Lab) -> None:
    with all_created(lab, ("mysql", "mariadb", "postgresql")) as owners:
        soaked = [Soaked(owner) for owner in owners]
        # Its first two requests at once break Trove's records of a project's quota.
        first = owners[0].backups
        backup = first.create("first", owners[0].id)
        first.wait(backup)
        first.delete(backup)
        crashes, run = Crashes(lab), Run()

        def part(one: Soaked | None) -> None:
            with run.part():
                if one is None:
                    _watch(soaked, crashes, run)
                else:
                    _work(one, crashes, run)

        at_once(part, [None, *soaked])
        for one in soaked:
            _check(one)
            left = one.owner.trove.databases(one.owner.id)
            broken_off = one.calls["broken off"]
            assert DATABASE in left and len(left) <= 1 + broken_off, left
        assert crashes.count >= min(2, SECONDS // BROKER_EVERY - 1)


def _check(one: Soaked) -> None:
    quarter = len(one.held) // 4
    second, last = one.held[quarter : 2 * quarter], one.held[-quarter:]
    begin, end = ([median(v) for v in zip(*part, strict=True)] for part in (second, last))
    print(
        json.dumps(
            {
                "datastore": one.owner.datastore,
                "seconds": SECONDS,
                **one.calls,
                "own_memory_mb": [round(v[0] / 1e6, 1) for v in (begin, end)],
                "descriptors": [v[1] for v in (begin, end)],
                "threads": [v[2] for v in (begin, end)],
            }
        )
    )
    assert len(one.pids) == 1, "the agent was started again"
    assert end[0] <= begin[0] + MEMORY_SLACK
    assert end[1] <= begin[1] + COUNT_SLACK
    assert end[2] <= begin[2] + COUNT_SLACK
    assert one.calls["backups"] and one.calls["rounds"] >= 4
    panics = [m for m in one.owner.guest.messages() if re.search("panicked", m)]
    assert panics == []
