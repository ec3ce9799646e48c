"""One comparison of the two agents' RPC, run inside the benchmark's namespaces.

`main` prints one JSON object: for each side a list of runs, each of them a
mapping of quantity to value (seconds and bytes), and what broker and client
take without any agent.

In a run both agents are up, each for an instance of its own, and calls go to
them in short blocks by turns: what else the machine does meets both alike.
"""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from bench import agents, sandbox
from bench.agents import Agent, Running
from bench.lean_client import Instance, LeanClient

OSLO_CLIENT = Path(__file__).with_name("oslo_client.py")
WINDOWS = (1, 32)
WARM_UP = 100
# Calls come in this many blocks, or fewer, so that filling and emptying the
# window is a small part of each.
BLOCKS = 10
BLOCK_WINDOWS = 10


@dataclass(frozen=True)
class Settings:
    """How much is measured, and with what. `calls` is per run and window."""

    key: str
    binary: str
    runs: int
    calls: int
    memory: str
    logs: str


@dataclass(frozen=True)
class Side:
    """One agent and how it is spoken to."""

    agent: Agent
    instance: Instance
    config_dir: Path
    client: LeanClient


def percentile(values: list[float], percent: float) -> float:
    """Nearest-rank percentile."""
    ordered = sorted(values)
    rank = -(-len(ordered) * percent // 100)  # rounded up
    return ordered[max(0, int(rank) - 1)]


def quantiles(prefix: str, times: list[float]) -> dict[str, float]:
    return {f"{prefix}_p{p}": percentile(times, p) for p in (50, 99)}


class Run:
    """One start of both agents and everything that is measured on it."""

    def __init__(self, sides: list[Side], settings: Settings) -> None:
        self._sides = sides
        self._settings = settings
        self._logs = Path(settings.logs)
        self.values: dict[str, dict[str, float]] = {s.agent.side: {} for s in sides}

    def measure(self) -> None:
        """Start, calls, memory; fills `values`."""
        with ExitStack() as stack:
            running = [self._start(side, stack) for side in self._sides]
            for window in WINDOWS:
                self._lean(running, window)
            for window in WINDOWS:
                for side in self._sides:
                    self._note(side, quantiles(f"oslo_{window}", self._oslo(side, window)))
            for side, process in zip(self._sides, running):
                memory = process.memory_at_rest()
                self._note(side, {"rss": memory.rss, "rss_anon": memory.anonymous})
        for side in self._sides:
            side.client.wait_unattended()

    def _note(self, side: Side, values: dict[str, float]) -> None:
        self.values[side.agent.side] |= values

    def _start(self, side: Side, stack: ExitStack) -> Running:
        """Start an agent on a call that waits for it already."""
        side.client.purge()
        side.client.post()
        log = self._logs / f"{side.agent.side}.log"
        running = stack.enter_context(side.agent.started(side.config_dir, log))
        self._note(side, {"start": side.client.wait() - running.begun})
        side.client.call(WARM_UP, max(WINDOWS))
        return running

    def _lean(self, running: list[Running], window: int) -> None:
        calls = self._settings.calls
        blocks = max(1, min(BLOCKS, calls // (BLOCK_WINDOWS * window)))
        before = [process.cpu_seconds() for process in running]
        times: list[list[float]] = [[] for _ in running]
        for _ in range(blocks):
            for side, taken in zip(self._sides, times):
                taken += side.client.call(calls // blocks, window)
        for side, process, taken, begun in zip(self._sides, running, times, before):
            cpu = (process.cpu_seconds() - begun) / len(taken) * 1000
            self._note(side, {**quantiles(f"lean_{window}", taken), f"cpu_{window}": cpu})

    def _oslo(self, side: Side, window: int) -> list[float]:
        argv = [sys.executable, "-W", "ignore", str(OSLO_CLIENT), str(sandbox.CLIENT_CONFIG)]
        argv += [side.instance.topic, str(self._settings.calls), str(window)]
        with open(self._logs / "oslo_client.log", "a") as log:
            done = subprocess.run(
                argv,
                input=side.instance.key,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                check=True,
            )
        return json.loads(done.stdout)


def compare(settings: Settings) -> dict:
    """All runs; the order of the sides changes with every run."""
    sandbox.prepare(Path(settings.memory))
    sides = []
    for agent in (agents.ours(Path(settings.binary)), agents.upstream()):
        instance = Instance(str(uuid.uuid4()), settings.key)
        config_dir = sandbox.configure(agent.side, instance)
        sides.append(Side(agent, instance, config_dir, LeanClient(instance)))
    alone: dict[str, float] = {}
    for window in WINDOWS:
        times = sides[0].client.echo(settings.calls, window)
        alone |= quantiles(f"lean_{window}", times)
    runs: dict[str, list[dict[str, float]]] = {side.agent.side: [] for side in sides}
    # Run 0 creates the account, fills the page cache and compiles Python's
    # modules; it is not counted.
    for number in range(settings.runs + 1):
        run = Run(sides[:: 1 if number % 2 else -1], settings)
        run.measure()
        _show(f"run {number} of {settings.runs}" if number else "warm-up", run)
        for name, values in run.values.items() if number else ():
            runs[name].append(values)
    return {"alone": alone, **runs}


def _show(which: str, run: Run) -> None:
    for name, values in run.values.items():
        start, p50 = values["start"] * 1e3, values["lean_1_p50"] * 1e3
        line = f"start {start:.0f} ms, p50 {p50:.2f} ms, RSS {values['rss'] / 1e6:.1f} MB"
        print(f"  {which}, {name}: {line}", file=sys.stderr, flush=True)


def main() -> None:
    print(json.dumps(compare(Settings(**json.loads(sys.argv[1])))))


def command(python: Path, settings: Settings) -> list[str]:
    """The command that runs this in a mount namespace of its own."""
    private = ["unshare", "--mount", "--propagation=private", "--"]
    code = "from bench import measure; measure.main()"
    return [*private, str(python), "-c", code, json.dumps(asdict(settings))]
