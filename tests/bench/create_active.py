"""From the request for an instance to ACTIVE, beside the same server by hand.

All times come from one clock, the machine's: the journals of the guests, the
start times of their inits, and our own watch.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from lab import settings
from lab.guests.guest import AGENT_UNIT, Guest
from lab.lab import Lab

from bench import bare
from bench.report import Bar, Row

HEALTHY = "Status reported. status=healthy"
# The workshop's first instance; more work than the server by hand does.
CONTENTS = {
    "databases": ["testdb"],
    "users": [
        {"name": "testuser", "password": "password123", "databases": [{"name": "testdb"}]}
    ],
}
LIMIT = 180.0
LOOK_SECONDS = 0.1


@dataclass(frozen=True)
class Guests:
    """Moments in the life of one guest, seconds since the epoch."""

    powered_on: float
    began: float  # the unit at work: agent or script
    answered: float  # healthy, or the first answer

    @property
    def boot(self) -> float:
        return self.began - self.powered_on

    @property
    def work(self) -> float:
        return self.answered - self.began


@dataclass(frozen=True)
class Created:
    """One instance: its guest's moments between those of its user."""

    requested: float
    guest: Guests
    active: float

    @property
    def before(self) -> float:
        """The control plane's part before the guest is powered on."""
        return self.guest.powered_on - self.requested

    @property
    def after(self) -> float:
        """How long the control plane takes to notice."""
        return self.active - self.guest.answered

    @property
    def total(self) -> float:
        return self.active - self.requested


def moments(guest: Guest, unit: str, last: str) -> Guests:
    """Wait until `unit` has said `last`; when what happened."""
    guest.wait_booted(LIMIT)
    guest.wait_message(last, LIMIT, unit)
    entries = guest.journal(unit)
    times = [int(entry["__REALTIME_TIMESTAMP"]) / 1e6 for entry in entries]
    end = next(t for t, e in zip(times, entries) if last in str(e.get("MESSAGE")))
    ticks = guest.leader().start_time / os.sysconf("SC_CLK_TCK")
    machine_started = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    return Guests(machine_started + ticks, times[0], end)


def create(lab: Lab, datastore: str) -> tuple[Created, bare.Files]:
    """Create an instance as a user does, and delete it; also its configuration."""
    with lab.inside():
        trove = lab.trove()
        requested = time.time()
        instance = trove.create_instance(f"bench-{datastore}", datastore, **CONTENTS)
        # Nobody asks the API meanwhile: it would take a CPU from the guest.
        guest = _wait_guest(lab, instance["id"])
        times = moments(guest, AGENT_UNIT, HEALTHY)
        while trove.instance(instance["id"])["status"] not in ("ACTIVE", "HEALTHY"):
            if time.time() > requested + LIMIT:
                raise TimeoutError(f"{instance['id']} is not ACTIVE after {LIMIT} s")
            time.sleep(LOOK_SECONDS)
        active = time.time()
        configuration = bare.Files.of(guest, datastore)
        trove.delete_instance(instance["id"])
        trove.wait_deleted(instance["id"])
    return Created(requested, times, active), configuration


def _wait_guest(lab: Lab, instance_id: str) -> Guest:
    deadline = time.monotonic() + LIMIT
    while True:
        try:
            guest = lab.guest(instance_id)
            if guest.running():
                return guest
        except LookupError:
            pass
        if time.monotonic() > deadline:
            raise TimeoutError(f"no guest for {instance_id} after {LIMIT} s")
        time.sleep(LOOK_SECONDS)


def by_hand(lab: Lab, datastore: str, configuration: bare.Files) -> Guests:
    """The same server in a guest without agent."""
    with bare.booted(lab, datastore, configuration) as guest:
        return moments(guest, bare.UNIT, bare.ANSWERS)


def compare(
    lab: Lab, runs: int, say: Callable[[str], None]
) -> tuple[list[Row], list[str]]:
    """Rows and notes for every datastore; both ways take turns."""
    rows: list[Row] = []
    notes: list[str] = []
    for datastore in settings.DATASTORES:
        created: list[Created] = []
        bares: list[Guests] = []
        # Run 0 fills the page cache and is not counted.
        for number in range(runs + 1):
            one, configuration = create(lab, datastore)
            other = by_hand(lab, datastore, configuration)
            which = f"run {number} of {runs}" if number else "warm-up"
            times = f"agent {one.guest.work:.2f} s, by hand {other.work:.2f} s"
            say(f"{datastore}, {which}: ACTIVE in {one.total:.2f} s, {times}")
            if number:
                created.append(one)
                bares.append(other)
        rows += _rows(datastore, created, bares)
        notes.append(_note(datastore, created, bares))
    return rows, notes


def _rows(datastore: str, created: list[Created], bares: list[Guests]) -> list[Row]:
    work = median(c.guest.work for c in created), median(b.work for b in bares)
    booted = median(b.boot + b.work for b in bares)
    total = median(c.total for c in created)
    net = f"create to healthy, net of control plane and boot, {datastore}"
    return [
        Row(net, *work, "s", Bar(ratio=1.5)),
        Row(f"create to ACTIVE, all of it, {datastore}", total, booted, "s"),
    ]


def _note(datastore: str, created: list[Created], bares: list[Guests]) -> str:
    parts = {
        "control plane and cloud until power-on": (c.before for c in created),
        "boot": (c.guest.boot for c in created),
        "agent from start to healthy": (c.guest.work for c in created),
        "control plane until it has noticed": (c.after for c in created),
    }
    told = ", ".join(f"{name} {median(times):.2f} s" for name, times in parts.items())
    boot, work = median(b.boot for b in bares), median(b.work for b in bares)
    return (
        f"{datastore}, medians of {len(created)}: create to ACTIVE is {told}; "
        f"by hand (the column upstream): boot {boot:.2f} s, script {work:.2f} s."
    )
