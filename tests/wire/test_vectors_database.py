"""The recorded requests that only read, to an agent that has a database.

In a file of their own, because the agents of test_vectors.py consume the same
queues and must have ended.
"""

from __future__ import annotations

import json

import pytest

from wire.guest import Guest
from wire.peer import Peer
from wire.recorded import INSTANCES, VECTORS, publish

READS = {
    "rpc_ping": bool,
    "get_filesystem_stats": dict,
    "get_hwinfo": dict,
    "get_diagnostics": dict,
    "get_user": (dict, type(None)),
    "list_access": list,
    "list_databases": list,
    "list_users": list,
}


@pytest.mark.parametrize("id", INSTANCES)
def test_recorded_reads_with_a_database(guest: Guest, id: str) -> None:
    """The same bytes to an agent that has a server: values of the right type."""
    guest.reconfigure(INSTANCES[id].key, id)
    try:
        with Peer(INSTANCES[id]) as peer:
            for vector in VECTORS:
                if vector["instance"] == id and (kind := READS.get(vector["method"])):
                    msg_id = publish(peer, vector)
                    assert msg_id is not None
                    if vector["method"] == "list_access":
                        failure = json.loads(peer.wait(msg_id)["failure"])
                        assert failure["class"] == "NotFound"
                    else:
                        assert isinstance(peer.result(msg_id), kind), vector["method"]
    finally:
        guest.reconfigure(guest.key)
