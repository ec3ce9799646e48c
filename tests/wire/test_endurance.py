"""Ten thousand calls through two hundred breaks: nothing lost, nothing twice,
nothing leaked."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import oslo_messaging as messaging
import pytest

from wire import oslo
from wire.agent import Agent, Sandbox
from wire.instance import Instance, url
from wire.peer import Peer
from wire.proxy import Proxy

CALLS = 10_000
CUTS = 200
IN_FLIGHT = 16
# What comes before the first look at memory and descriptors: one tenth.
WARM_UP = CALLS // 10
# Growth of resident memory that is no leak. A connection costs several hundred
# kB while it lives; keeping a hundredth of it each time would be more than this.
# Without any leak the heap spreads over some more pages (0.8 MiB here) and stands
# still after a thousand connections.
RSS_BOUND = 3 << 19
# How long a call may take through a break, in seconds.
PATIENCE = 30


class Bystander(threading.Thread):
    """oslo.messaging's own client, calling all the while."""

    def __init__(self, client: oslo.Client) -> None:
        super().__init__(daemon=True)
        self._client = client
        self.stop = threading.Event()
        self.outcomes: Counter[str] = Counter()

    def run(self) -> None:
        while not self.stop.is_set():
            try:
                result = self._client.call("rpc_ping", timeout=PATIENCE)
                self.outcomes["answered" if result is True else "wrong"] += 1
            except messaging.MessagingTimeout:
                self.outcomes["timed out"] += 1
            except messaging.MessageDeliveryFailure:
                self.outcomes["not delivered"] += 1


class Load:
    """Keeps calls in flight and cuts the agent's connection in between."""

    def __init__(self, peer: Peer, proxy: Proxy) -> None:
        self._peer = peer
        self._proxy = proxy
        self.ids: list[str] = []
        self.cuts = 0

    def run(self, calls: int, cuts: int) -> None:
        """Until so many calls in all are answered and so many cuts are made."""
        begun, done = self.cuts, len(self._peer.replies)
        share = (calls - done) / (cuts - begun)
        while len(self._peer.replies) < calls:
            while len(self.ids) < min(calls, len(self._peer.replies) + IN_FLIGHT):
                self.ids.append(self._peer.post("rpc_ping"))
            self._peer.connection.drain_events(timeout=PATIENCE)
            answered = len(self._peer.replies) - done
            if self.cuts < cuts and answered > (self.cuts - begun) * share:
                # Zero while the agent is still connecting: then a little later.
                self.cuts += self._proxy.cut()


def settled(agent: Agent, proxy: Proxy) -> tuple[int, int]:
    """Resident memory and descriptors, connected and with nothing to do."""
    proxy.wait_links(1)
    with Peer(agent.instance) as peer:
        peer.ping()
    deadline = time.monotonic() + 10
    last = (0, 0)
    while time.monotonic() < deadline:
        now = (agent.rss(), agent.descriptors())
        if now == last:
            return now
        last = now
        time.sleep(0.25)
    return last


@pytest.mark.slow
def test_calls_and_reconnects(
    sandbox: Sandbox, sealed: Instance, tmp_path: Path, measured: Callable[[str], None]
) -> None:
    # Soon after a cut, so that it does not take an hour.
    rabbit = {"kombu_reconnect_delay": 0.1}
    with Proxy() as proxy, oslo.client(sealed, tmp_path) as client, Peer(sealed) as peer:
        with sandbox.agent(sealed, transport_url=url(port=proxy.port), rabbit=rabbit) as agent:
            bystander = Bystander(client)
            bystander.start()
            load = Load(peer, proxy)
            begun = time.monotonic()
            load.run(WARM_UP, CUTS // 10)
            before = settled(agent, proxy)
            load.run(CALLS, CUTS)
            seconds = time.monotonic() - begun
            bystander.stop.set()
            bystander.join(PATIENCE)
            after = settled(agent, proxy)
        report(measured, load, bystander, peer, before, after, seconds)
        check_calls(agent, load, peer)
        assert load.cuts >= CUTS
        lost = agent.logged("Connection lost")
        assert len(lost) >= CUTS
        assert sum(bystander.outcomes.values()) > 100
        assert set(bystander.outcomes) == {"answered"}, bystander.outcomes
        assert after[1] == before[1], "descriptors"
        assert after[0] - before[0] <= RSS_BOUND, "resident memory"


def check_calls(agent: Agent, load: Load, peer: Peer) -> None:
    """One reply and one execution for each call."""
    missing = [msg_id for msg_id in load.ids if msg_id not in peer.replies]
    assert not missing, f"{len(missing)} calls without a reply"
    for msg_id in load.ids:
        replies = peer.replies[msg_id]
        # A reply whose confirm was lost is sent again; callers know it by its id.
        assert len({reply["_unique_id"] for reply in replies}) == 1
        assert peer.result(msg_id) is True
    runs = Counter(re.findall(r"Call done\. .*msg_id=(\w+)", "\n".join(agent.log())))
    assert all(runs[msg_id] == 1 for msg_id in load.ids)
    assert set(runs.values()) == {1}


def report(
    measured: Callable[[str], None],
    load: Load,
    bystander: Bystander,
    peer: Peer,
    before: tuple[int, int],
    after: tuple[int, int],
    seconds: float,
) -> None:
    twice = sum(len(peer.replies[msg_id]) - 1 for msg_id in load.ids if msg_id in peer.replies)
    measured(
        f"{len(load.ids)} calls and {load.cuts} cuts in {seconds:.0f} s; "
        f"{twice} replies were sent again; oslo.messaging beside it: {dict(bystander.outcomes)}"
    )
    measured(
        f"RSS {before[0] / 2**20:.2f} -> {after[0] / 2**20:.2f} MiB "
        f"(bound +{RSS_BOUND >> 10} KiB), descriptors {before[1]} -> {after[1]}"
    )
