"""Whatever is on the broker already, and whatever goes away: requests get through."""

from __future__ import annotations

from collections.abc import Callable

import amqp
import pytest

from lab import rabbitmq

from wire.agent import Sandbox
from wire.broker import MEEK_USER, BrokerLab
from wire.instance import Instance, url
from wire.peer import Peer, envelope
from wire.proxy import Proxy

QUEUES = {
    "durable": {"durable": True},
    "quorum": {"durable": True, "arguments": {"x-queue-type": "quorum"}},
    "auto-delete": {"auto_delete": True},
    "expiring": {"arguments": {"x-expires": 600_000, "x-message-ttl": 600_000}},
    "lazy": {"arguments": {"x-queue-mode": "lazy"}},
}


def exists(channel_of: Callable[[], amqp.Channel], **declare: str) -> bool:
    """Whether a queue or an exchange exists; takes a channel of its own."""
    channel = channel_of()
    try:
        if "queue" in declare:
            channel.queue_declare(declare["queue"], passive=True)
        else:
            channel.exchange_declare(declare["exchange"], "topic", passive=True)
        channel.close()
        return True
    except amqp.exceptions.NotFound:
        return False


def test_everything_upstream_declares_is_there(sandbox: Sandbox, sealed: Instance) -> None:
    """Three queues and two exchanges, equal to what oslo.messaging makes: an
    active declaration with its arguments is no 406."""
    with sandbox.agent(sealed) as agent, Peer(sealed) as peer:
        channel = peer.channel
        channel.exchange_declare(sealed.exchange, "topic", durable=False, auto_delete=False)
        fanout = f"{sealed.topic}_fanout"
        channel.exchange_declare(fanout, "fanout", durable=False, auto_delete=True)
        for name in (sealed.topic, f"{sealed.topic}.{sealed.id}"):
            assert channel.queue_declare(name, durable=False, auto_delete=False).consumer_count == 1
        random = agent.logged(f"Queue declared. queue={fanout}_[0-9a-f]{{32}} ")[0]
        name = random.split("queue=")[1].split()[0]
        arguments = {"x-expires": 1_800_000}
        declared = channel.queue_declare(name, auto_delete=False, arguments=arguments)
        assert declared.consumer_count == 1
        # All three deliver.
        for exchange, key in (
            (sealed.exchange, f"{sealed.topic}.{sealed.id}"),
            (fanout, "anything"),
        ):
            request = peer.request("rpc_ping")
            peer.publish(envelope(request), exchange=exchange, key=key)
            assert peer.result(request["_msg_id"]) is True
    with Peer(sealed) as peer:
        # A clean end leaves the queues that the control plane sends to.
        assert not exists(peer.connection.channel, queue=name)
        assert exists(peer.connection.channel, queue=sealed.topic)


@pytest.mark.parametrize("kind", QUEUES)
def test_queue_declared_with_other_arguments(
    sandbox: Sandbox, sealed: Instance, kind: str
) -> None:
    """406 for whoever insists; we consume it as it is."""
    with Peer(sealed) as peer:
        options = {"auto_delete": False, **QUEUES[kind]}
        peer.channel.exchange_declare(sealed.exchange, "topic", auto_delete=False)
        peer.channel.queue_declare(sealed.topic, **options)
        peer.channel.queue_bind(sealed.topic, sealed.exchange, sealed.topic)
        with sandbox.agent(sealed) as agent:
            peer.ping()
            assert agent.alive() and not agent.logged("^(ERROR|WARN)")
            # It is still what this test made, and the default would be refused.
            peer.channel.queue_declare(sealed.topic, **options)
            with pytest.raises(amqp.exceptions.PreconditionFailed):
                peer.connection.channel().queue_declare(sealed.topic, auto_delete=False)


def test_queue_declared_but_not_bound(sandbox: Sandbox, sealed: Instance) -> None:
    with Peer(sealed) as peer:
        peer.channel.queue_declare(sealed.topic, durable=True, auto_delete=False)
        with sandbox.agent(sealed):
            peer.ping()
        peer.channel.queue_delete(sealed.topic)


@pytest.mark.parametrize("option", ["amqp_durable_queues", "rabbit_quorum_queue"])
def test_own_durable_options(sandbox: Sandbox, sealed: Instance, option: str) -> None:
    """The agent's own options decide about what does not exist yet."""
    with sandbox.agent(sealed, rabbit={option: "true"}), Peer(sealed) as peer:
        arguments = {"x-queue-type": "quorum"} if "quorum" in option else {}
        peer.channel.exchange_declare(sealed.exchange, "topic", durable=True, auto_delete=False)
        for name in (sealed.topic, f"{sealed.topic}.{sealed.id}"):
            peer.channel.queue_declare(name, durable=True, auto_delete=False, arguments=arguments)
        peer.ping()
        for name in (sealed.topic, f"{sealed.topic}.{sealed.id}"):
            peer.channel.queue_delete(name)


@pytest.mark.parametrize("kind", ["topic", "direct"])
def test_exchange_declared_durable(sandbox: Sandbox, sealed: Instance, kind: str) -> None:
    with Peer(sealed) as peer:
        peer.channel.exchange_declare(sealed.exchange, kind, durable=True, auto_delete=False)
        with sandbox.agent(sealed) as agent:
            peer.ping()
            assert agent.alive()


def test_queue_deleted_while_consuming(sandbox: Sandbox, sealed: Instance) -> None:
    """The broker cancels the consumer; the queue is made anew."""
    with sandbox.agent(sealed) as agent, Peer(sealed) as peer:
        for _ in range(3):
            mark = agent.mark()
            peer.channel.queue_delete(sealed.topic)
            agent.wait_listening(since=mark)
            peer.ping()
        assert not agent.logged("Connection lost")


def test_fanout_exchange_deleted(sandbox: Sandbox, sealed: Instance) -> None:
    """Nothing is sent there; the topic queue goes on, and the next connection
    makes it anew."""
    with Proxy() as proxy, Peer(sealed) as peer:
        with sandbox.agent(sealed, transport_url=url(port=proxy.port)) as agent:
            fanout = f"{sealed.topic}_fanout"
            peer.channel.exchange_delete(fanout)
            peer.ping()
            mark = agent.mark()
            proxy.cut()
            agent.wait_listening(since=mark)
            assert exists(peer.connection.channel, exchange=fanout)
            peer.ping()


def test_fanout_not_permitted(sandbox: Sandbox, sealed: Instance) -> None:
    """A user that may not declare the fanout exchange still gets requests."""
    with sandbox.agent(sealed, transport_url=url(user=MEEK_USER)) as agent:
        with Peer(sealed) as peer:
            peer.ping()
        assert agent.logged("Queue is not available; continuing without it.*_fanout")
        assert agent.logged(r"Listening\..* queues=2")


def test_request_exchange_deleted(sandbox: Sandbox, sealed: Instance) -> None:
    """The next connection declares it and binds the queue again."""
    with Proxy() as proxy, sandbox.agent(sealed, transport_url=url(port=proxy.port)) as agent:
        with Peer(sealed) as peer:
            peer.channel.exchange_delete(sealed.exchange)
            mark = agent.mark()
            proxy.cut()
            agent.wait_listening(since=mark)
            peer.ping()


def test_two_agents_share_a_queue(sandbox: Sandbox, sealed: Instance) -> None:
    """During a replacement two agents consume the same queue: every call is
    answered once."""
    with sandbox.agent(sealed), sandbox.agent(sealed), Peer(sealed) as peer:
        ids = [peer.post("rpc_ping") for _ in range(20)]
        for msg_id in ids:
            assert peer.result(msg_id) is True
        peer.ping()
        assert all(len(peer.replies[msg_id]) == 1 for msg_id in ids)


def test_prefetch_limit(sandbox: Sandbox, sealed: Instance) -> None:
    """rabbit_qos_prefetch_count of 1 serves everybody, one after the other."""
    with sandbox.agent(sealed, rabbit={"rabbit_qos_prefetch_count": 1}), Peer(sealed) as peer:
        ids = [peer.post("rpc_ping") for _ in range(50)]
        for msg_id in ids:
            assert peer.result(msg_id) is True


def test_queue_manager_names(sandbox: Sandbox, sealed: Instance) -> None:
    """use_queue_manager: the fanout queue has a stable name and outlives us."""
    rabbit = {"use_queue_manager": "true", "hostname": "guest-1", "processname": "agent"}
    with sandbox.agent(sealed, rabbit=rabbit), Peer(sealed) as peer:
        name = f"{sealed.topic}_fanout_guest-1:agent:1"
        assert exists(peer.connection.channel, queue=name)
        peer.ping()
    with Peer(sealed) as peer:
        assert exists(peer.connection.channel, queue=name)


def test_connection_has_a_name(sandbox: Sandbox, sealed: Instance, lab: BrokerLab) -> None:
    """One connection, named so that an operator finds the guest's process."""
    with sandbox.agent(sealed) as agent:
        rows = lab.rabbitmqctl("list_connections", "client_properties", "user").splitlines()
        name = f"trove-guestagent:{agent.process.pid}:"
        assert sum(name in row for row in rows) == 1, rows
        assert rabbitmq.consumers(sealed.topic) == 1
