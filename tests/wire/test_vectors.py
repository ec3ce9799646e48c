"""Requests recorded from the real control plane, published byte for byte."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from wire.agent import Agent, Sandbox
from wire.peer import Peer
from wire.recorded import INSTANCES, VECTORS, publish, vector_id

NOT_SUPPORTED = {
    "attach_replication_slave",
    "cleanup_source_on_replica_detach",
    "get_root_password",
    "get_txn_count",
    "update_guest",
}
# Refused whatever the server does: nothing has been changed before.
REFUSED = {"ssl_rollback"}
# Answered without a database server.
ANSWERED = {"rpc_ping": bool, "get_filesystem_stats": dict, "get_hwinfo": dict}


@pytest.fixture(scope="module")
def agents(sandbox: Sandbox) -> Iterator[dict[str, Agent]]:
    """One agent for every instance that was recorded."""
    with ExitStack() as stack:
        yield {
            id: stack.enter_context(sandbox.agent(instance)) for id, instance in INSTANCES.items()
        }


@pytest.mark.parametrize("vector", VECTORS, ids=vector_id)
def test_recorded_request(agents: dict[str, Agent], vector: dict) -> None:
    """It decodes, it opens, its arguments are understood, and the answer is
    what an agent without a database server can say."""
    agent = agents[vector["instance"]]
    method, mark = vector["method"], agent.mark()
    with Peer(agent.instance) as peer:
        msg_id = publish(peer, vector)
        if msg_id is None:
            agent.wait_log(f"Cast (done|failed).*method={method} ", since=mark, timeout=60)
        else:
            check(peer, method, msg_id)
        peer.ping()
    assert not agent.logged("Undecodable|does not open|is not encrypted", mark)
    # Nor is anything sent that we do not know, but for one odd ping.
    assert not agent.logged('argument "|Unknown arguments ignored. arguments=(?!bogus )', mark)


def check(peer: Peer, method: str, msg_id: str) -> None:
    if method in ANSWERED:
        assert isinstance(peer.result(msg_id), ANSWERED[method])
        return
    reply = peer.wait(msg_id, 30)
    if method not in NOT_SUPPORTED and reply["failure"] is None:
        return
    failure = json.loads(reply["failure"])
    assert failure["tb"] == [] and failure["message"] and "Traceback" not in failure["message"]
    if method == "no_such_method":
        assert failure["class"] == "NoSuchMethod"
    elif method in REFUSED:
        assert failure["class"] == "BadRequest"
    elif failure["class"] != "DatastoreOperationNotSupported":
        assert method not in NOT_SUPPORTED
        assert failure["class"] in ("GuestError", "GuestTimeout"), failure
