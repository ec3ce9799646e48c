"""Many agents on one broker, with the real conductor. `make fleet` takes 1,000.

What one agent costs the broker and the machine, whether reports get lost, and how
all come back when the broker does.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator

import pytest

from lab import rabbitmq
from lab.waiting import eventually
from wire.agent import Sandbox
from wire.broker import standing

from fleet import fleet as fleets
from fleet.fleet import Fleet, FleetLab, cpu_seconds, own_share, resident

COUNT = int(os.environ.get("TROVE_FLEET", "40"))
# Every agent reports so often, see `report_interval`. Trove's conductor takes about
# a tenth of a second of one processor for a report.
PERIOD = float(os.environ.get("TROVE_FLEET_PERIOD", "30"))
# A report may come so much late before it counts as lost.
LATE = 20.0
# All must be back so soon after a broker is.
BACK = 60.0
# What is watched at rest.
WATCHED = 2 * PERIOD


@pytest.fixture(scope="module")
def lab() -> Iterator[FleetLab]:
    lab = FleetLab()
    with standing(lab):
        yield lab


@pytest.fixture(scope="module")
def before(lab: FleetLab) -> int:
    """The broker's memory without agents."""
    return resident(lab.broker_process().pid)


@pytest.fixture(scope="module")
def fleet(lab: FleetLab, before: int) -> Iterator[Fleet]:
    begun = time.monotonic()
    with fleets.running(lab, Sandbox(lab), COUNT, PERIOD) as fleet:
        ready = fleet.listening([0] * COUNT)
        note(agents=COUNT, period_s=PERIOD, all_listening_s=round(ready - begun, 1))
        yield fleet


_noted: dict[str, float] = {}


def note(**values: float) -> None:
    """One line of figures, for docs/scale.md."""
    _noted.update(values)
    print(json.dumps(values))


def test_footprint_on_the_broker(fleet: Fleet, lab: FleetLab, before: int) -> None:
    """A connection, a channel and the three queues of oslo.messaging per agent."""
    connections = len(lab.rabbitmqctl("list_connections", "pid").split())
    channels = len(lab.rabbitmqctl("list_channels", "pid").split())
    names = lab.rabbitmqctl("list_queues", "name").split()
    queues = [name for name in names if name.startswith("guestagent.")]
    assert connections >= COUNT
    per_agent = (resident(lab.broker_process().pid) - before) / COUNT
    note(
        connections=connections,
        channels=channels,
        agent_queues=len(queues),
        broker_kb_per_agent=round(per_agent / 1e3),
    )
    # Trove's own services have some, too.
    assert len(queues) == 3 * COUNT
    assert connections < 2 * COUNT + 40
    assert channels < 2 * COUNT + 40


def test_reports_arrive_and_cost_little(fleet: Fleet, lab: FleetLab) -> None:
    """Nobody is silent for longer than a period, and nothing piles up."""
    broker = lab.broker_process().pid
    conductors = lab.conductors()
    eventually_heard(lab)
    spent = [cpu_seconds(pid) for pid in (broker, *conductors)]
    agents = sum(cpu_seconds(agent.process.pid) for agent in fleet.agents)
    begun, backlog, silent = time.monotonic(), 0, 0
    while time.monotonic() - begun < WATCHED:
        time.sleep(2)  # the step of a measurement
        backlog = max(backlog, lab.backlog())
        silent = max(silent, lab.silent(PERIOD + LATE))
    took = time.monotonic() - begun
    now = [cpu_seconds(pid) for pid in (broker, *conductors)]
    broker_cpu = (now[0] - spent[0]) / took
    conductor_cpu = (sum(now[1:]) - sum(spent[1:])) / took
    agent_cpu = (sum(cpu_seconds(a.process.pid) for a in fleet.agents) - agents) / took
    memory = sum(own_share(agent.process.pid) for agent in fleet.agents) / COUNT
    note(
        silent=silent,
        backlog=backlog,
        broker_cpu_percent=round(100 * broker_cpu, 1),
        conductor_cpu_percent=round(100 * conductor_cpu, 1),
        agent_cpu_percent=round(100 * agent_cpu / COUNT, 4),
        agent_pss_mb=round(memory / 1e6, 2),
    )
    assert silent == 0
    assert backlog < COUNT
    assert lab.backlog() < max(COUNT // 10, 10)


def eventually_heard(lab: FleetLab) -> None:
    eventually(lambda: lab.silent(PERIOD + LATE) == 0, 3 * PERIOD)


def test_all_come_back_after_the_broker(fleet: Fleet, lab: FleetLab) -> None:
    """The broker crashes and starts: all agents listen again, and are heard again."""
    marks = fleet.marks()
    lab.kill_broker()
    lab.start_broker()
    rabbitmq.wait_ready()
    up = time.monotonic()
    spent = cpu_seconds(lab.broker_process().pid)
    last = fleet.listening(marks)
    note(
        back_s=round(last - up, 1),
        herd_broker_cpu_s=round(cpu_seconds(lab.broker_process().pid) - spent, 1),
        herd_broker_mb=round(resident(lab.broker_process().pid) / 1e6),
    )
    assert last - up < BACK
    eventually_heard(lab)
    assert all(agent.alive() for agent in fleet.agents)
