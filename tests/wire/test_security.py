"""Secure RPC: what does not open is refused and never executed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from oslo_messaging import RemoteError

from wire import canary, oslo, records
from wire.agent import Agent, Sandbox
from wire.instance import Instance
from wire.peer import Peer, envelope, seal, unseal
from wire.waiting import until

# `prepare` marks the instance as building before anything else. It fails soon
# after, because there is no service manager within reach.
PREPARE = {"config_contents": "[mysqld]\n"}


@pytest.fixture(scope="module")
def shared_sealed(sandbox: Sandbox) -> Iterator[Agent]:
    """An agent with a key for tests that change nothing about it."""
    with sandbox.agent(Instance.new()) as agent:
        yield agent


def refused(peer: Peer, agent: Agent, text: str, **fields: object) -> None:
    """A call is refused with `text`, and a cast of `prepare` never runs."""
    failure = peer.failure("rpc_ping", **fields)
    assert failure["class"] == "Forbidden" and text in failure["message"]
    mark = agent.mark()
    request = peer.request("prepare", PREPARE, _msg_id=None, _reply_q=None, **fields)
    peer.publish(envelope(request), expiration=None)
    agent.wait_log("Call failed.*method=prepare", since=mark)
    assert agent.logged(f"error=.*{text}.*method=prepare", mark)
    assert not agent.path("/var/lib/trove-guestagent/operation.json").exists()


def executes(agent: Agent, conductor: oslo.Conductor, peer: Peer) -> None:
    """The same cast runs when it opens, so not running shows when it does not."""
    request = peer.request("prepare", PREPARE, _msg_id=None, _reply_q=None)
    peer.publish(envelope(request), expiration=None)
    first = conductor.next()
    assert first.args["payload"]["service_status"] == "building"
    assert agent.path("/var/lib/trove-guestagent/operation.json").exists()
    conductor.wait_status("failed to spawn")


def test_another_key(sandbox: Sandbox, tmp_path: Path) -> None:
    """The first cast that reaches the conductor is that of the right key."""
    instance = records.instance()
    stranger = instance.with_key(canary.make("RPC key"))
    with oslo.conductor(instance, tmp_path) as conductor, sandbox.agent(instance) as agent:
        with Peer(stranger) as peer:
            refused(peer, agent, "does not open with this guest's instance_rpc_encr_key")
        # It learns from the state file, which is looked after every ten seconds.
        until(lambda: agent.state()["refused_requests"] == 2, 15)
        doctor = agent.run("doctor")
        assert doctor.returncode == 1 and "FAIL key" in doctor.stdout
        with Peer(instance) as peer:
            peer.ping()
            executes(agent, conductor, peer)


def test_another_key_through_oslo_messaging(
    sandbox: Sandbox, sealed: Instance, tmp_path: Path
) -> None:
    stranger = sealed.with_key(canary.make("RPC key"))
    with sandbox.agent(sealed), oslo.client(stranger, tmp_path) as client:
        with pytest.raises(RemoteError, match="does not open") as error:
            client.call("rpc_ping")
        assert error.value.exc_type == "Forbidden"


def test_clear_text_with_a_key(sandbox: Sandbox, tmp_path: Path) -> None:
    instance = records.instance()
    with oslo.conductor(instance, tmp_path) as conductor, sandbox.agent(instance) as agent:
        with Peer(instance.with_key(None)) as peer:
            refused(peer, agent, "is not encrypted")
        with Peer(instance) as peer:
            executes(agent, conductor, peer)


def test_clear_text_allowed_for_migration(sandbox: Sandbox, sealed: Instance) -> None:
    """Each request is answered the way it came."""
    with sandbox.agent(sealed, own={"allow_clear_text_rpc": "true"}) as agent:
        assert agent.logged("WARN.*allow_clear_text_rpc")
        with Peer(sealed.with_key(None)) as peer:
            assert peer.wait(peer.post("rpc_ping"))["result"] is True
        with Peer(sealed) as peer:
            reply = peer.wait(peer.post("rpc_ping"))
            assert unseal(reply["result"], str(sealed.key)) is True
        with Peer(sealed.with_key(canary.make("RPC key"))) as peer:
            assert peer.failure("rpc_ping")["class"] == "Forbidden"


def test_sealed_without_a_key(sandbox: Sandbox) -> None:
    instance = Instance.new(sealed=False)
    with sandbox.agent(instance) as agent:
        assert agent.logged("WARN.*No instance_rpc_encr_key")
        with Peer(instance.with_key(canary.make("RPC key"))) as peer:
            refused(peer, agent, "has no instance_rpc_encr_key")


def damaged(text: str) -> dict[str, str]:
    """Ways in which a sealed string can be broken."""
    flipped = text[:-8] + ("A" if text[-8] != "A" else "B") + text[-7:]
    return {
        "empty": "",
        "no base64": "not base64!",
        "short": text[:20],
        "no whole block": text[:-8] + "==",
        "last block flipped": flipped,
        "IV only": text[:24][:21] + "A==",
    }


@pytest.mark.parametrize("kind", damaged("A" * 64))
@pytest.mark.parametrize("part", ["context", "argument"])
def test_damaged(shared_sealed: Agent, kind: str, part: str) -> None:
    """A single part that does not open is enough."""
    key = str(shared_sealed.instance.key)
    with Peer(shared_sealed.instance) as peer:
        broken = damaged(seal({"some": "value", "and": "more than one block"}, key))[kind]
        if part == "context":
            failure = peer.failure("rpc_ping", _context_context=broken)
        else:
            failure = peer.failure("rpc_ping", args={"extra": broken})
        assert failure["class"] == "Forbidden", failure
        peer.ping()


def test_clear_argument_beside_a_sealed_context(shared_sealed: Agent) -> None:
    with Peer(shared_sealed.instance) as peer:
        failure = peer.failure("get_user", args={"username": "root", "hostname": "%"})
        assert failure["class"] == "Forbidden" and "argument" in failure["message"]


def test_failure_holds_no_secret(shared_sealed: Agent) -> None:
    """Failures travel in clear."""
    password = canary.make("user password")
    users = [{"_name": "a" * 200, "_host": "%", "_password": password, "_databases": [{"x": 1}]}]
    with Peer(shared_sealed.instance) as peer:
        failure = peer.failure("create_user", {"users": users})
        assert password not in json.dumps(failure)
