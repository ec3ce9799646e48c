"""One comparison of the two agents' RPC, run inside the benchmark's namespaces.

`main` prints one JSON object: for each side a list of runs, each of them a
mapping of quantity to value (seconds and bytes), and what broker and client
take without any agent.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from bench import agents, sandbox
from bench.agents import Agent, Running
from bench.lean_client import Instance, LeanClient
from bench.sandbox import Sandbox

OSLO_CLIENT = Path(__file__).with_name("oslo_client.py")
WINDOWS = (1, 32)
WARM_UP = 100


@dataclass(frozen=True)
class Settings:
    """How much is measured, and on what. `calls` is per run and window."""

    instance: Instance
    binary: str
    runs: int
    calls: int
    memory: str
    logs: str


def percentile(values: list[float], percent: float) -> float:
    """Nearest-rank percentile."""
    ordered = sorted(values)
    rank = -(-len(ordered) * percent // 100)  # rounded up
    return ordered[max(0, int(rank) - 1)]


def quantiles(prefix: str, times: list[float]) -> dict[str, float]:
    return {f"{prefix}_p{p}": percentile(times, p) for p in (50, 99)}


def one_run(agent: Agent, box: Sandbox, client: LeanClient, settings: Settings) -> dict:
    """Start the agent on a waiting ping, load it, let it rest, stop it."""
    client.purge()
    client.post()
    log = Path(settings.logs) / f"{agent.side}.log"
    with agent.started(box.config_dir, log) as running:
        values = {"start": client.wait() - running.begun}
        client.call(WARM_UP, max(WINDOWS))
        for window in WINDOWS:
            values |= _lean(running, client, settings.calls, window)
        for window in WINDOWS:
            times = _oslo(box, settings, window)
            values |= quantiles(f"oslo_{window}", times)
        memory = running.memory_at_rest()
        values |= {"rss": memory.rss, "rss_anon": memory.anonymous}
    if client.consumers() != 0:
        raise RuntimeError(f"{agent.side} has left a consumer behind")
    return values


def _lean(running: Running, client: LeanClient, count: int, window: int) -> dict:
    before = running.cpu_seconds()
    times = client.call(count, window)
    cpu = (running.cpu_seconds() - before) / count * 1000
    return {**quantiles(f"lean_{window}", times), f"cpu_{window}": cpu}


def _oslo(box: Sandbox, settings: Settings, window: int) -> list[float]:
    argv = [sys.executable, "-W", "ignore", str(OSLO_CLIENT), str(box.client_config)]
    argv += [settings.instance.topic, str(settings.calls), str(window)]
    with open(Path(settings.logs) / "oslo_client.log", "a") as log:
        done = subprocess.run(
            argv,
            input=settings.instance.key,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            check=True,
        )
    return json.loads(done.stdout)


def compare(settings: Settings) -> dict:
    """All runs of both sides, taking turns."""
    box = sandbox.prepare(Path(settings.memory), settings.instance)
    client = LeanClient(settings.instance)
    alone = {}
    for window in WINDOWS:
        client.echo(WARM_UP, window)
        alone |= quantiles(f"lean_{window}", client.echo(settings.calls, window))
    sides = (agents.ours(Path(settings.binary)), agents.upstream())
    runs: dict[str, list[dict]] = {agent.side: [] for agent in sides}
    # Run 0 creates the account, fills the page cache and compiles Python's
    # modules; it is not counted.
    for number in range(settings.runs + 1):
        for agent in sides:
            values = one_run(agent, box, client, settings)
            _show(number, settings.runs, agent, values)
            if number:
                runs[agent.side].append(values)
    client.close()
    return {"alone": alone, **runs}


def _show(number: int, runs: int, agent: Agent, values: dict) -> None:
    which = f"run {number} of {runs}" if number else "warm-up"
    start, p50 = values["start"] * 1e3, values["lean_1_p50"] * 1e3
    print(
        f"  {which}, {agent.side}: start {start:.0f} ms, p50 {p50:.2f} ms, "
        f"RSS {values['rss'] / 1e6:.1f} MB",
        file=sys.stderr,
        flush=True,
    )


def main() -> None:
    raw = json.loads(sys.argv[1])
    settings = Settings(**{**raw, "instance": Instance(**raw["instance"])})
    print(json.dumps(compare(settings)))


def command(python: Path, settings: Settings) -> list[str]:
    """The command that runs this in a mount namespace of its own."""
    private = ["unshare", "--mount", "--propagation=private", "--"]
    code = "from bench import measure; measure.main()"
    return [*private, str(python), "-c", code, json.dumps(asdict(settings))]
