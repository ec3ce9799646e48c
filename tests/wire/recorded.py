"""Requests recorded from the real control plane (see vectors/README.md)."""

from __future__ import annotations

import json
from pathlib import Path

from wire import canary
from wire.guest import EXCHANGE
from wire.instance import Instance
from wire.peer import Peer

RECORDED = json.loads((Path(__file__).parent / "vectors/requests.json").read_text())
# `prepare` last: it begins to install a server, and others would wait for it.
VECTORS = sorted(RECORDED["requests"], key=lambda v: (v["instance"], v["method"] == "prepare"))
INSTANCES = {
    id: Instance(canary.keep("RPC key", key), id, EXCHANGE) for id, key in RECORDED["keys"].items()
}


def vector_id(vector: dict) -> str:
    return f"{vector['method']}-{VECTORS.index(vector)}"


def publish(peer: Peer, vector: dict) -> str | None:
    """Publish one as it was; the id of the call."""
    payload = json.loads(json.loads(vector["body"])["oslo.message"])
    if vector["kind"] == "call":
        peer.listen(payload["_reply_q"])
    peer.publish(
        vector["body"].encode(), exchange=vector["exchange"], expiration=vector["expiration"]
    )
    return payload.get("_msg_id")
