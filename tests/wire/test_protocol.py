"""Requests and replies: what each kind of message must bring."""

from __future__ import annotations

import bz2
import json
import uuid
import zlib
from pathlib import Path
from types import ModuleType

import amqp
import pytest
from oslo_messaging import RemoteError

from wire import oslo
from wire.agent import Agent, Sandbox
from wire.instance import Instance, url
from wire.peer import Peer, envelope
from wire.proxy import Proxy

DISPATCHER = "oslo_messaging.rpc.dispatcher"


def test_ping_through_oslo_messaging(client: oslo.Client) -> None:
    assert client.call("rpc_ping") is True


def test_result_is_sealed_like_the_request(peer: Peer) -> None:
    """A sealed request gets a sealed result, also a sealed `true`."""
    reply = peer.wait(peer.post("rpc_ping"))
    assert isinstance(reply["result"], str) == (peer.instance.key is not None)


def test_unknown_method(client: oslo.Client, peer: Peer) -> None:
    with pytest.raises(RemoteError) as error:
        client.call("no_such_method")
    assert error.value.exc_type == "NoSuchMethod"
    assert error.value.value == "Endpoint does not support RPC method no_such_method"
    failure = peer.failure("no_such_method")
    assert (failure["class"], failure["module"]) == ("NoSuchMethod", DISPATCHER)
    assert failure["tb"] == [] and failure["args"] == [] and failure["kwargs"] == {}


@pytest.mark.parametrize("version", ["1.4", "2.0", "0.9"])
def test_unsupported_version(client: oslo.Client, version: str) -> None:
    with pytest.raises(RemoteError) as error:
        client.call("rpc_ping", version=version)
    assert error.value.exc_type == "UnsupportedVersion"
    text = f"Endpoint does not support RPC version {version}. Attempted method: rpc_ping"
    assert error.value.value == text


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2", "1.3"])
def test_supported_versions(client: oslo.Client, version: str) -> None:
    assert client.call("rpc_ping", version=version) is True


def test_absent_version_is_1_0(peer: Peer) -> None:
    assert peer.call("rpc_ping", version=None) is True


def test_unknown_argument_is_ignored(client: oslo.Client, shared: Agent) -> None:
    mark = shared.mark()
    assert client.call("rpc_ping", not_of_this_release={"a": 1}) is True
    shared.wait_log("Unknown arguments ignored.*not_of_this_release", since=mark)


def test_missing_argument_has_its_default(client: oslo.Client) -> None:
    """`fs_path` of get_filesystem_stats; the volume is a real one."""
    stats = client.call("get_filesystem_stats")
    assert stats == client.call("get_filesystem_stats", fs_path=None)
    assert set(stats) >= {"block_size", "total_blocks", "free_blocks", "total", "free", "used"}
    assert 0.03 < stats["total"] < 0.07 and stats["free"] > 1 << 24


def test_missing_required_argument(client: oslo.Client) -> None:
    with pytest.raises(RemoteError, match='"database" is missing') as error:
        client.call("revoke_access", username="u", hostname="%")
    assert error.value.exc_type == "BadRequest"


def test_argument_of_wrong_type_is_not_quoted(client: oslo.Client) -> None:
    """The text names the argument; its value may be a password."""
    with pytest.raises(RemoteError) as error:
        client.call("create_user", users="hunter2")
    assert '"users"' in error.value.value and "hunter2" not in error.value.value


def test_failure_reads_clean(client: oslo.Client) -> None:
    """No traceback: the text goes to the user as it is."""
    with pytest.raises(RemoteError) as error:
        client.call("list_databases")
    assert error.value.exc_type == "GuestError"
    assert "\n" not in error.value.value and "Traceback" not in str(error.value)


def test_unsupported_method_is_a_clean_failure(client: oslo.Client) -> None:
    with pytest.raises(RemoteError, match="not supported") as error:
        client.call("get_txn_count")
    assert error.value.exc_type == "DatastoreOperationNotSupported"


def test_body_without_envelope(peer: Peer) -> None:
    """A body that is no 2.0 envelope is the payload itself."""
    request = peer.request("rpc_ping")
    peer.publish(json.dumps(request).encode())
    assert peer.result(request["_msg_id"]) is True


def test_foreign_context_keys(peer: Peer) -> None:
    """Tracing adds clear fields beside the sealed context."""
    fields = {"_context_traceparent": "00-ab-cd-01", "_context_tenant": "t"}
    assert peer.call("rpc_ping", **fields) is True


def test_call_without_context(sandbox: Sandbox) -> None:
    """Nothing in it is needed; in clear it may be empty."""
    with sandbox.agent(Instance.new(sealed=False)) as agent, Peer(agent.instance) as peer:
        request = {k: v for k, v in peer.request("rpc_ping").items() if "_context" not in k}
        peer.publish(envelope(request))
        assert peer.result(request["_msg_id"]) is True


def test_duplicate_is_dropped(peer: Peer, shared: Agent) -> None:
    """The same message twice: executed once, answered once."""
    mark = shared.mark()
    request = peer.request("rpc_ping")
    for _ in range(2):
        peer.publish(envelope(request))
    peer.ping()
    shared.wait_log("Duplicate request dropped", since=mark)
    peer.ping()
    assert len(peer.replies[request["_msg_id"]]) == 1


def test_same_call_with_another_identity_is_no_duplicate(peer: Peer) -> None:
    for _ in range(2):
        peer.ping()
    request = peer.request("rpc_ping", _unique_id=None)
    for _ in range(2):
        peer.publish(envelope(request))
    peer.drain(lambda: len(peer.replies.get(request["_msg_id"], [])) == 2)


def test_compressed_by_oslo_messaging(shared: Agent, tmp_path: Path) -> None:
    """kombu_compression of the control plane; ours is off."""
    with oslo.client(shared.instance, tmp_path, url(query="?kombu_compression=gzip")) as client:
        assert client.call("rpc_ping") is True


@pytest.mark.parametrize("packer", [zlib, bz2], ids=["zlib", "bz2"])
def test_compressed_request(peer: Peer, packer: ModuleType) -> None:
    """What kombu's decompressors take. oslo.messaging offers "bz2", but kombu
    does not know it by this name, so here the bytes are made by hand."""
    request = peer.request("rpc_ping")
    name = {zlib: "application/x-gzip", bz2: "application/x-bz2"}[packer]
    peer.publish(packer.compress(envelope(request)), application_headers={"compression": name})
    assert peer.result(request["_msg_id"]) is True


BROKEN = {
    "empty": (b"", {}),
    "no JSON": (b"\x00\xff\xfe", {}),
    "no object": (b"[1, 2]", {}),
    "no UTF-8": (b'{"method": "\xff"}', {}),
    "broken inside": (json.dumps({"oslo.version": "2.0", "oslo.message": "{"}).encode(), {}),
    "foreign version": (json.dumps({"oslo.version": "3.0", "oslo.message": "{}"}).encode(), {}),
    "no method": (envelope({"args": {}}), {}),
    "method is a number": (envelope({"method": 1, "args": {}}), {}),
    "args is a list": (envelope({"method": "rpc_ping", "args": []}), {}),
    "deep": (b"[" * 100_000, {}),
    "no gzip": (b"{}", {"application_headers": {"compression": "application/x-gzip"}}),
    "unknown compression": (b"{}", {"application_headers": {"compression": "application/x-lz"}}),
}


def test_undecodable_messages_are_rejected(sandbox: Sandbox, sealed: Instance) -> None:
    """Each goes to the dead-letter queue and nothing else happens."""
    dead = f"dead-{sealed.id}"
    with Peer(sealed) as peer:
        peer.channel.queue_declare(dead, durable=False, auto_delete=False)
        arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead}
        peer.channel.queue_declare(sealed.topic, auto_delete=False, arguments=arguments)
        with sandbox.agent(sealed) as agent:
            rejected: list[bytes] = []

            def collect(message: amqp.Message) -> None:
                (death,) = message.headers["x-death"]
                assert death["reason"] == "rejected"
                body = message.body
                rejected.append(body if isinstance(body, bytes) else body.encode())

            peer.channel.basic_consume(dead, no_ack=True, callback=collect)
            # As kombu would: the bodies must not be decoded on the way.
            for body, changes in BROKEN.values():
                peer.publish(body, content_encoding="binary", **changes)
            peer.drain(lambda: len(rejected) == len(BROKEN))
            assert sorted(rejected) == sorted(body for body, _ in BROKEN.values())
            peer.ping()
            assert len(agent.logged("Undecodable message rejected")) == len(BROKEN)


def test_gzip_bomb_is_rejected(peer: Peer, shared: Agent) -> None:
    """A small body that would fill the memory does not."""
    packer = zlib.compressobj(9)
    chunk = b" " * (1 << 24)
    body = b"".join(packer.compress(chunk) for _ in range(32)) + packer.flush()
    before, mark = shared.rss(), shared.mark()
    peer.publish(body, application_headers={"compression": "application/x-gzip"})
    shared.wait_log("Undecodable message rejected", since=mark, timeout=60)
    peer.ping()
    assert shared.rss() - before < 256 << 20


def test_reply_waits_for_its_queue(sandbox: Sandbox, sealed: Instance) -> None:
    """The caller's queue is missing for a while, as after a broker restart."""
    late = f"reply_{uuid.uuid4().hex}"
    with Proxy() as proxy, Peer(sealed) as caller:
        proxy.recording = True
        with sandbox.agent(sealed, transport_url=url(port=proxy.port)):
            msg_id = caller.post("rpc_ping", _reply_q=late)
            proxy.wait_sent(msg_id.encode(), 3)
            caller.listen(late)
            assert caller.result(msg_id) is True
            caller.ping()
            assert len(caller.replies[msg_id]) == 1


def test_reply_queue_that_never_comes(sandbox: Sandbox, sealed: Instance) -> None:
    """Given up after kombu_missing_consumer_retry_timeout; others are served."""
    rabbit = {"kombu_missing_consumer_retry_timeout": 1}
    with sandbox.agent(sealed, rabbit=rabbit) as agent, Peer(sealed) as peer:
        peer.post("rpc_ping", _reply_q="reply_nobody")
        peer.ping()
        agent.wait_log("Reply dropped, the reply queue does not exist")
        mark = agent.mark()
        peer.post("rpc_ping", _reply_q="reply_nobody")
        agent.wait_log("Reply dropped, the caller is gone", since=mark)
        peer.ping()


def test_expired_call_is_not_answered(sandbox: Sandbox, sealed: Instance) -> None:
    """A call that its caller has given up is gone before the agent starts."""
    with Peer(sealed) as peer:
        with sandbox.agent(sealed):
            peer.ping()
        stale = peer.request("rpc_ping")
        peer.publish(envelope(stale), expiration="1")
        waiting = peer.request("rpc_ping")
        peer.publish(envelope(waiting))
        with sandbox.agent(sealed):
            assert peer.result(waiting["_msg_id"]) is True
            peer.ping()
        assert stale["_msg_id"] not in peer.replies


def test_request_waits_for_a_slow_guest(sandbox: Sandbox, instance: Instance) -> None:
    """The taskmanager declares the queue and casts before the agent is up."""
    with Peer(instance) as peer:
        peer.channel.exchange_declare(
            instance.exchange, "topic", durable=False, auto_delete=False
        )
        peer.channel.queue_declare(instance.topic, auto_delete=False)
        peer.channel.queue_bind(instance.topic, instance.exchange, instance.topic)
        msg_id = peer.post("rpc_ping")
        with sandbox.agent(instance):
            assert peer.result(msg_id) is True


def test_oslo_ping(sandbox: Sandbox, sealed: Instance) -> None:
    """oslo_rpc_server_ping exists where it is enabled, and only there."""
    with sandbox.agent(sealed, default={"rpc_ping_enabled": True}), Peer(sealed) as peer:
        reply = peer.wait(peer.post("oslo_rpc_server_ping"))
        assert reply["failure"] is None
    with sandbox.agent(sealed), Peer(sealed) as peer:
        assert peer.failure("oslo_rpc_server_ping")["class"] == "NoSuchMethod"
