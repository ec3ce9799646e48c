"""What an instance's user waits for, operation by operation, until the API is content.

Beside each time stands what upstream's agent waits in the same operation by its
own rules alone, whatever machine and server do:

- A server it has started counts as healthy after `state_healthy_counts` (5) good
  looks in a row, `state_change_poll_time` (3 s) apart
  (`trove/guestagent/datastore/service.py`, wait_for_status), and a container says
  nothing good before its first health check, 5 s after its start at the earliest
  (`start-interval` of Docker).
- After a boot its first heartbeat is due after 60 s, the period of
  oslo.service's periodic tasks; a flavor is changed only after one (on average a
  half of the period, if the agent is ready when the control plane begins to wait).

Boot, server and control plane take their time with both agents.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median

from backups.steps import Owner, created
from lab import settings
from lab.clients.writer import Login, Writer
from lab.lab import Lab
from scenarios.conftest import DATABASE, PASSWORD, USER, guests_with
from scenarios.day2 import rebuild
from scenarios.test_life import admin_action

from bench.report import Row

LOOKS = (5 - 1) * 3.0
FIRST_LOOK = 5.0
START = LOOKS + FIRST_LOOK
HEARTBEAT = 60.0 / 2
LIMIT = 300.0
MEGABYTES = 64
FLAVORS = ("2", "3")


@dataclass(frozen=True)
class Operation:
    """Something a user asks for, and what upstream's agent waits in it: until it
    tells of the end, and as long as the server is down."""

    name: str
    waits: float
    down: float
    run: Callable[[Owner], None]


def restart(owner: Owner) -> None:
    owner.trove.restart(owner.id)
    owner.trove.wait_active(owner.id, LIMIT)


def reboot(owner: Owner) -> None:
    admin_action(owner.lab, owner.id, {"reboot": {}})
    owner.trove.wait_active(owner.id, LIMIT)


def resize_flavor(owner: Owner) -> None:
    now = owner.trove.instance(owner.id)["flavor"]["id"]
    (other,) = (flavor for flavor in FLAVORS if flavor != now)
    owner.trove.resize_flavor(owner.id, other)
    owner.trove.wait_active(owner.id, LIMIT)
    assert owner.trove.instance(owner.id)["flavor"]["id"] == other


def resize_volume(owner: Owner) -> None:
    owner.size += 1
    owner.trove.resize_volume(owner.id, owner.size)
    owner.trove.wait_active(owner.id, LIMIT)
    assert owner.trove.instance(owner.id)["volume"]["size"] == owner.size


def back_up(owner: Owner) -> None:
    owner.back_up("database_backups")


OPERATIONS = [
    Operation("restart", START, 0.0, restart),
    Operation("reboot", START, 0.0, reboot),
    Operation("other flavor", HEARTBEAT + START, HEARTBEAT, resize_flavor),
    Operation("larger volume, online", 0.0, 0.0, resize_volume),
    Operation(f"full backup, {MEGABYTES} MB", 0.0, 0.0, back_up),
    Operation("rebuild", START, 0.0, rebuild),
]


@dataclass
class Times:
    """Of one operation: until the API was content, and how long nobody could write."""

    total: list[float]
    paused: list[float]


def compare(
    lab: Lab, runs: int, say: Callable[[str], None]
) -> tuple[list[Row], list[str]]:
    """Rows and a note for every datastore."""
    rows: list[Row] = []
    with lab.inside(), guests_with(lab, group="DEFAULT", volume_fstype="xfs", format_options="-f"):
        for datastore in settings.DATASTORES:
            rows += _measure(lab, datastore, runs, say)
    note = (
        f"Operations: medians of {runs}. `ours` is the whole of it: control plane, boot, "
        "server and agent. `upstream` is only what upstream's agent waits by its rules on top of "
        "control plane, boot and server, so there is no ratio. Writes pause for as long as a client that tries again "
        "every 50 ms was without a commit."
    )
    return rows, [note]


def _measure(
    lab: Lab, datastore: str, runs: int, say: Callable[[str], None]
) -> Iterator[Row]:
    waiting: list[float] = []
    # Run 0 fills the page cache and is not counted.
    for number in range(runs + 1):
        begun = time.monotonic()
        with created(lab, datastore):
            if number:
                waiting.append(time.monotonic() - begun)
    yield _row(f"create, {datastore}", median(waiting), START)
    with created(lab, datastore, megabytes=MEGABYTES) as owner:
        for operation in OPERATIONS:
            times = Times([], [])
            for _ in range(runs):
                with _written_to(owner, times):
                    begun = time.monotonic()
                    operation.run(owner)
                    times.total.append(time.monotonic() - begun)
            total, paused = median(times.total), median(times.paused)
            say(f"{datastore}, {operation.name}: {total:.1f} s, writes pause {paused:.2f} s")
            name = f"{operation.name}, {datastore}"
            yield _row(name, total, operation.waits)
            yield _row(f"{name}, writes pause", paused, operation.down)


def _row(name: str, ours: float, waits: float) -> Row:
    return Row(name, ours, waits, "s", partial=True)


@contextmanager
def _written_to(owner: Owner, times: Times) -> Iterator[None]:
    login = Login(owner.datastore, owner.address, USER, PASSWORD, DATABASE)
    with Writer(login) as writer:
        writer.wait_more(20)
        yield
        writer.wait_more(20)
        writer.stop()
    times.paused.append(writer.longest_pause())
