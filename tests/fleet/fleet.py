"""Many agents at once, each the real binary in a root of its own.

They believe to be prepared and find no database, so all they do is what every agent
does all the time: keep a connection, listen, report to the conductor.
"""

from __future__ import annotations

import os
import resource
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab import rabbitmq, settings
from lab.lab import Lab
from lab.processes import Identity
from wire.agent import Agent, Sandbox
from wire.broker import BrokerLab
from wire.instance import Instance

EXCHANGE, CONDUCTOR = "trove", "trove-conductor"
PREPARED = "/opt/trove-guestagent/.guestagent.prepare.end"
# Started at once: so many guests boot on one host.
BATCH = 20
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
PATIENCE = 300.0


class FleetLab(BrokerLab):
    """A whole lab whose agents have no guests."""

    def __init__(self) -> None:
        Lab.__init__(self, Path(f"{settings.state_dir()}-fleet"))

    def _create(self) -> None:
        # A pipe per agent here, a socket per agent there: the broker inherits it.
        _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        Lab._create(self)
        (self.state / "agents").mkdir()
        shutil.copy(settings.agent_binary(), self.binary)

    _start = Lab._start
    _start_broker = Lab._start_broker

    def register(self, instances: list[Instance]) -> None:
        """Let Trove know the instances, as if it had just made them."""
        from trove.common import cfg, crypto_utils

        cfg.CONF([], project="trove", default_config_files=[str(self.trove_conf)])
        master = cfg.CONF.inst_rpc_key_encr_key
        rows, statuses = [], []
        for one in instances:
            sealed = crypto_utils.encode_data(crypto_utils.encrypt_data(one.key, master))
            rows.append(
                f"('{one.id}', now(), now(), '{one.id[:8]}', 2, 'fleet', '{sealed}', 0)"
            )
            statuses.append(f"('{one.id}', '{one.id}', 23, 'new', now())")
        self.trove_sql(
            "insert into instances (id, created, updated, name, task_id, tenant_id, "
            f"encrypted_key, deleted) values {', '.join(rows)}"
        )
        self.trove_sql(
            "insert into service_statuses (id, instance_id, status_id, status_description, "
            f"updated_at) values {', '.join(statuses)}"
        )

    def silent(self, seconds: float) -> int:
        """How many instances the conductor has heard nothing of for so long."""
        ((count,),) = self.trove_sql(
            "select count(*) from service_statuses where "
            f"updated_at < utc_timestamp() - interval {seconds:.0f} second"
        )
        return int(count)

    def backlog(self) -> int:
        """Messages that wait for the conductor."""
        return rabbitmq.waiting(CONDUCTOR)

    def broker_process(self) -> Identity:
        """The Erlang machine."""
        (machine,) = self.broker_machines()
        return machine

    def conductors(self) -> list[int]:
        """The conductor's processes: one and its workers."""
        identity = self.processes.get("trove-conductor")
        assert identity is not None
        children = Path(f"/proc/{identity.pid}/task/{identity.pid}/children").read_text()
        return [identity.pid, *map(int, children.split())]


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far (proc(5))."""
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(stat[11]) + int(stat[12])) / TICKS


def resident(pid: int) -> int:
    """Bytes of a process in memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE


def own_share(pid: int) -> int:
    """Bytes of a process in memory, what it shares divided by those who share it."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) << 10
    raise ProcessLookupError(pid)


@dataclass
class Fleet:
    """Agents that run."""

    lab: FleetLab
    agents: list[Agent]

    def listening(self, marks: list[int]) -> float:
        """Wait until each listens after its mark; when the last one did."""
        deadline = time.monotonic() + PATIENCE
        return max(
            agent.wait_listening(since=mark, timeout=max(deadline - time.monotonic(), 1))
            for agent, mark in zip(self.agents, marks, strict=True)
        )

    def marks(self) -> list[int]:
        return [agent.mark() for agent in self.agents]


@contextmanager
def running(lab: FleetLab, sandbox: Sandbox, count: int, period: float) -> Iterator[Fleet]:
    """So many agents, of instances that Trove knows; each reports once a period."""
    instances = [Instance(Instance.new().key, exchange=EXCHANGE) for _ in range(count)]
    lab.register(instances)
    prepared = lab.state / "prepared"
    prepared.touch()
    with ExitStack() as stack:
        fleet = Fleet(lab, [])
        for number, instance in enumerate(instances):
            agent = sandbox.agent(
                instance,
                default={
                    "conductor_queue": CONDUCTOR,
                    "debug": False,
                    "state_change_wait_time": 180,
                    "report_interval": round(period),
                },
                files={PREPARED: prepared},
                volume=False,
                wait=False,
            )
            fleet.agents.append(stack.enter_context(agent))
            if (number + 1) % BATCH == 0:
                fleet.agents[number + 1 - BATCH].wait_listening(timeout=PATIENCE)
        yield fleet
        # All are asked before any is waited for.
        for agent in fleet.agents:
            agent.process.terminate()
