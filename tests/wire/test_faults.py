"""Breaks of every kind between agent and broker, and how soon they heal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import amqp
import pytest

from lab import network, rabbitmq

from wire.agent import Agent, Sandbox
from wire.broker import BrokerLab
from wire.instance import Instance, url
from wire.peer import Peer
from wire.proxy import Proxy

# From the moment the broker takes logins to the moment requests get through.
HEAL_SECONDS = 2.0
# What heartbeat_timeout_threshold is set to, and what may be added to it: the
# check runs every quarter of a second, the machine may be busy.
HEARTBEAT = 2
NOTICE_SECONDS = 1.0
# A heartbeat frame: type 8, channel 0, no payload, end mark.
BEAT = b"\x08\x00\x00\x00\x00\x00\x00\xce"


def first_login(timeout: float = 60) -> float:
    """When the broker lets somebody in, tried every few milliseconds."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            rabbitmq.connect(timeout=1).close()
            return time.monotonic()
        except (OSError, amqp.exceptions.AMQPError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.005)


@pytest.fixture
def restarted(lab: BrokerLab) -> Iterator[None]:
    """A test that fails half-way leaves the others their broker."""
    yield
    if lab.processes.get("rabbitmq") is None:
        lab.start_broker()
        rabbitmq.wait_ready()


@pytest.mark.slow
@pytest.mark.parametrize("end", ["stop", "kill"])
def test_broker_restart(
    lab: BrokerLab,
    sandbox: Sandbox,
    sealed: Instance,
    end: str,
    measured: Callable[[str], None],
    restarted: None,
) -> None:
    """Its queues are gone with it; the agent declares them again."""
    with sandbox.agent(sealed) as agent:
        with Peer(sealed) as peer:
            peer.ping()
        mark = agent.mark()
        lab.stop_broker() if end == "stop" else lab.kill_broker()
        agent.wait_log("Connection lost", since=mark)
        lab.start_broker()
        back = first_login()
        healed = agent.wait_listening(since=mark, timeout=30) - back
        with Peer(sealed) as peer:
            peer.ping()
        measured(f"broker {end} and start: heals {healed:.2f} s after its first login")
        assert healed <= HEAL_SECONDS
        # One line for the cause, not one for each attempt.
        assert len(agent.logged("Connection lost", mark)) == 1
        assert len(agent.logged("No connection to the broker, retrying", mark)) <= 3


@pytest.mark.parametrize("reset", [True, False], ids=["reset", "closed"])
def test_tcp_cut(
    sandbox: Sandbox, sealed: Instance, reset: bool, measured: Callable[[str], None]
) -> None:
    """A call posted while the connection is down is answered after it."""
    with Proxy() as proxy, sandbox.agent(sealed, transport_url=url(port=proxy.port)) as agent:
        with Peer(sealed) as peer:
            mark, cut = agent.mark(), time.monotonic()
            assert proxy.cut(reset) == 1
            assert peer.call("rpc_ping") is True
            healed = agent.wait_listening(since=mark) - cut
            measured(f"TCP {'reset' if reset else 'close'}: listening again after {healed:.2f} s")
            assert healed <= HEAL_SECONDS
            assert len(agent.logged("Connection lost", mark)) == 1
            assert agent.state()["broker"].startswith("connected to")


def test_cut_between_request_and_reply(sandbox: Sandbox, sealed: Instance) -> None:
    """The reply of a call that was taken before the break comes after it, once
    per caller's view, and the request does not run again."""
    with Proxy() as proxy, sandbox.agent(sealed, transport_url=url(port=proxy.port)) as agent:
        with Peer(sealed) as peer:
            for _ in range(10):
                mark = agent.mark()
                msg_id = peer.post("rpc_ping")
                agent.wait_log(f"Request received.*{msg_id}", since=mark)
                proxy.cut()
                assert peer.result(msg_id) is True
                agent.wait_listening(since=mark)
                peer.ping()
                assert len({reply["_unique_id"] for reply in peer.replies[msg_id]}) == 1
                assert len(agent.logged(f"Call done.*{msg_id}")) == 1


def test_half_open(
    sandbox: Sandbox, sealed: Instance, measured: Callable[[str], None]
) -> None:
    """The other end is gone without a word; heartbeats find out."""
    rabbit = {"heartbeat_timeout_threshold": HEARTBEAT}
    with Proxy() as proxy, Peer(sealed) as peer:
        with sandbox.agent(sealed, transport_url=url(port=proxy.port), rabbit=rabbit) as agent:
            peer.ping()
            mark = agent.mark()
            frozen = proxy.freeze()
            msg_id = peer.post("rpc_ping")
            lost = agent.wait_log("Connection lost.*nothing heard", since=mark) - frozen
            measured(f"half-open with heartbeat {HEARTBEAT} s: noticed after {lost:.2f} s")
            assert lost <= HEARTBEAT + NOTICE_SECONDS
            agent.wait_listening(since=mark)
            # The broker finds out as late as we did, then delivers it again.
            assert peer.result(msg_id, timeout=4 * HEARTBEAT) is True


def test_quiet_connection_lives(sandbox: Sandbox, sealed: Instance) -> None:
    """Heartbeats alone keep a connection for longer than its threshold."""
    rabbit = {"heartbeat_timeout_threshold": 1}
    with Proxy() as proxy, sandbox.agent(
        sealed, transport_url=url(port=proxy.port), rabbit=rabbit
    ) as agent:
        proxy.recording = True
        proxy.wait_sent(BEAT, 5, timeout=15)
        with Peer(sealed) as peer:
            peer.ping()
        assert proxy.accepted == 1 and not agent.logged("Connection lost")


@pytest.fixture
def alarm(lab: BrokerLab) -> Iterator[Callable[[], str]]:
    """Raises the broker's memory alarm; it is lifted at the end."""
    yield lambda: lab.rabbitmqctl("set_vm_memory_high_watermark", "absolute", "1")
    lift(lab)


def lift(lab: BrokerLab) -> None:
    lab.rabbitmqctl("set_vm_memory_high_watermark", "absolute", "1GB")


def test_blocked_connection(
    lab: BrokerLab, sandbox: Sandbox, sealed: Instance, alarm: Callable[[], str]
) -> None:
    """The broker takes no messages: requests are read and run, their replies
    wait, the connection stays, and every reply arrives afterwards."""
    rabbit = {"heartbeat_timeout_threshold": 1}
    with Proxy() as proxy, Peer(sealed) as peer:
        with sandbox.agent(sealed):
            peer.ping()
        ids = [peer.post("rpc_ping") for _ in range(5)]
        alarm()
        broker = url(port=proxy.port)
        with sandbox.agent(sealed, transport_url=broker, rabbit=rabbit, wait=False) as agent:
            agent.wait_listening()
            agent.wait_log("Broker takes no messages")
            for msg_id in ids:
                agent.wait_log(f"Call done.*{msg_id}")
            # Longer than the heartbeat's threshold, seen in the broker's own beats.
            proxy.recording = True
            proxy.wait_received(BEAT, 5, timeout=10)
            assert "takes no messages" in agent.state()["broker"]
            assert not peer.replies.keys() & set(ids)
            lift(lab)
            for msg_id in ids:
                assert peer.result(msg_id) is True
            agent.wait_log("Broker takes messages again")
            peer.ping()
            assert all(len(peer.replies[msg_id]) == 1 for msg_id in ids)
            assert proxy.accepted == 1 and not agent.logged("Connection lost")


def listening_after(agent: Agent, action: Callable[[], object]) -> None:
    mark = agent.mark()
    action()
    agent.wait_listening(since=mark, timeout=15)


def test_several_hosts(sandbox: Sandbox, sealed: Instance) -> None:
    """One of two brokers is dead, whichever comes first; then the other one."""
    login = url().split("@")[0].removeprefix("rabbit://")
    with Proxy() as one, Proxy() as two:
        two.close()
        both = f"rabbit://{login}@{one.host}:{one.port},{login}@{two.host}:{two.port}/"
        with sandbox.agent(sealed, transport_url=both) as agent, Peer(sealed) as peer:
            peer.ping()
            for dead, alive in ((one, two), (two, one)):
                alive.open()
                mark = agent.mark()
                dead.close()
                agent.wait_log(rf"Listening\. host={alive.host}:{alive.port} ", since=mark)
                peer.ping()


def test_first_host_does_not_answer(sandbox: Sandbox, sealed: Instance) -> None:
    """An address nobody has: the other broker serves, at every start."""
    login = url().split("@")[0].removeprefix("rabbit://")
    nobody = str(network.MANAGEMENT.network[250])
    brokers = f"rabbit://{login}@{nobody}:5672,{login}@{network.LAB_ADDRESS}:5672/"
    for _ in range(3):
        with sandbox.agent(sealed, transport_url=brokers, wait=False) as agent:
            agent.wait_listening(timeout=20)
            with Peer(sealed) as peer:
                peer.ping()


def test_broker_comes_late(sandbox: Sandbox, sealed: Instance) -> None:
    """The agent is up before its broker and says so once."""
    with Proxy() as proxy:
        proxy.close()
        broker = url(port=proxy.port)
        rabbit = {"rabbit_retry_interval": 1, "rabbit_retry_backoff": 1}
        with sandbox.agent(sealed, transport_url=broker, rabbit=rabbit, wait=False) as agent:
            agent.wait_log("No connection to the broker, retrying.*kind=Tcp")
            agent.wait_log("DEBUG No connection to the broker")
            doctor = agent.run("doctor")
            assert doctor.returncode == 1
            assert "FAIL TCP" in doctor.stdout and "ok   DNS" in doctor.stdout
            assert "login" not in doctor.stdout
            listening_after(agent, proxy.open)
            assert len(agent.logged("No connection to the broker, retrying")) == 1


def test_stop_while_the_broker_is_away(sandbox: Sandbox, sealed: Instance) -> None:
    """SIGTERM is obeyed at once."""
    with Proxy() as proxy, sandbox.agent(sealed, transport_url=url(port=proxy.port)) as agent:
        agent.wait_log("volume formatted and mounted")
        mark = agent.mark()
        proxy.close()
        agent.wait_log("No connection to the broker", since=mark)
        begun = time.monotonic()
        assert agent.stop() == 0
        assert time.monotonic() - begun < 5


def test_stop_while_the_volume_is_awaited(sandbox: Sandbox, sealed: Instance) -> None:
    """SIGTERM is obeyed at once, also before there is a volume."""
    with sandbox.agent(sealed, volume=False) as agent:
        agent.wait_log("Service user created")
        begun = time.monotonic()
        assert agent.stop() == 0
        assert time.monotonic() - begun < 5


def test_stop_drains(sandbox: Sandbox, sealed: Instance) -> None:
    """What was delivered before SIGTERM is answered; the rest stays queued for
    the next agent. Nothing is lost and nothing runs twice."""
    with Peer(sealed) as peer:
        with sandbox.agent(sealed) as agent:
            ids = [peer.post("rpc_ping") for _ in range(200)]
            peer.wait(ids[0])
            assert agent.stop() == 0
        with sandbox.agent(sealed) as second:
            for msg_id in ids:
                assert peer.result(msg_id) is True
            peer.ping()
        done = [line for a in (agent, second) for line in a.logged("Call done.*rpc_ping")]
        assert all(len(peer.replies[msg_id]) == 1 for msg_id in ids)
        assert len(done) == len(ids) + 1
