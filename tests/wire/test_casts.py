"""Casts to the conductor, opened by the conductor's own serializer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from wire import oslo, records
from wire.agent import Sandbox
from wire.guest import Guest
from wire.instance import Instance
from wire.peer import Peer, envelope
from wire.test_security import PREPARE

NOTIFICATION = {
    "request_id": "req-wire",
    "server_type": "guest",
    "client_ip": "127.0.0.1",
    "server_ip": "127.0.0.1:8779",
    "tenant_id": "wire",
    "notification_classname": "trove.common.notification.DBaaSInstanceCreate",
}


@pytest.mark.parametrize("sealed", [True, False], ids=["sealed", "clear"])
def test_failing_prepare(sandbox: Sandbox, tmp_path: Path, sealed: bool) -> None:
    """BUILDING, FAILED, the user's fault; after a restart the agent says FAILED
    again, with a `sent` that has grown although its clock went back."""
    recorded = records.instance()
    instance = recorded if sealed else recorded.with_key(None)
    with oslo.conductor(instance, tmp_path) as conductor:
        with sandbox.agent(instance) as agent:
            with Peer(instance, trove_notification=NOTIFICATION) as peer:
                request = peer.request("prepare", PREPARE, _msg_id=None, _reply_q=None)
                peer.publish(envelope(request), expiration=None)
            building = conductor.wait_status("building")
            casts = {cast.method: cast for cast in (conductor.next(), conductor.next())}
            failed = casts["heartbeat"]
            assert failed.args["payload"] == {"service_status": "failed to spawn"}
            fault = casts["notify_exc_info"]
            assert "systemctl" in fault.args["message"].lower()
            assert isinstance(fault.args["exception"], list)
            told = fault.args["notification"]
            assert told["instance_id"] == instance.id
            assert told.items() >= NOTIFICATION.items()
            assert fault.context.auth_token is None
            for cast in (building, failed):
                assert cast.args["instance_id"] == instance.id
                assert cast.context.user_id is None and cast.context.auth_token is None
            # The conductor may swap two that are closer.
            assert failed.args["sent"] - building.args["sent"] >= 0.9
        ahead = failed.args["sent"] + 3600
        microseconds = 1_000_000
        file = agent.directory / "upper/var/lib/trove-guestagent/sent.json"
        stamps = json.loads(file.read_text())
        assert stamps["heartbeat"] == pytest.approx(failed.args["sent"] * microseconds)
        file.write_text(json.dumps(stamps | {"heartbeat": int(ahead * microseconds)}))
        with sandbox.agent(instance, after=agent):
            again = conductor.wait_status("failed to spawn")
            assert again.args["sent"] > ahead


def test_nothing_is_said_before_prepare(sandbox: Sandbox, tmp_path: Path) -> None:
    """Any status but BUILDING would fail a building instance."""
    instance = records.instance()
    with oslo.conductor(instance, tmp_path) as conductor:
        with sandbox.agent(instance, default={"report_interval": 1}) as agent:
            with Peer(instance) as peer:
                agent.wait_log("volume formatted and mounted")
                peer.call("get_filesystem_stats")
                peer.ping()
        with pytest.raises(TimeoutError):
            conductor.next(timeout=0.5)


def test_prepare_of_the_guest(guest: Guest) -> None:
    """What the conductor heard while the shared guest was prepared."""
    casts = guest.prepare_casts
    methods = [cast.method for cast in casts]
    assert methods.count("notify_end") == 1 and methods.count("report_root") == 1
    heartbeats = [cast for cast in casts if cast.method == "heartbeat"]
    said = [cast.args["payload"]["service_status"] for cast in heartbeats]
    assert said[0] == "building" and said[-1] == "healthy" and set(said) == {"building", "healthy"}
    stamps = [cast.args["sent"] for cast in heartbeats]
    assert all(later - earlier >= 0.9 for earlier, later in zip(stamps, stamps[1:]))
    end = next(cast for cast in casts if cast.method == "notify_end")
    assert end.args["notification"]["instance_id"] == guest.instance.id
    assert end.args["notification"]["notification_classname"].endswith(".DBaaSInstanceCreate")
    root = next(cast for cast in casts if cast.method == "report_root")
    # Root history is kept by user.
    assert root.args["instance_id"] == guest.instance.id and root.context.user_id == "wire"


def test_conductor_exchange_is_declared(sandbox: Sandbox, sealed: Instance) -> None:
    """Casts into a void are no error, and the agent stays."""
    with sandbox.agent(sealed) as agent, Peer(sealed) as peer:
        request = peer.request("prepare", PREPARE, _msg_id=None, _reply_q=None)
        peer.publish(envelope(request), expiration=None)
        agent.wait_log("Status reported. status=failed to spawn")
        peer.ping()
        assert not agent.logged("not delivered")
