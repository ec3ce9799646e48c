"""The other side as it is in production: oslo.messaging and Trove's serializers."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import oslo_messaging as messaging
from oslo_config import cfg
from oslo_messaging._metrics import client as metrics
from oslo_messaging._tracing import client as tracing
from trove.common.context import TroveContext
from trove.common.rpc.conductor_host_serializer import ConductorHostSerializer
from trove.common.rpc.secure_serializer import SecureSerializer
from trove.common.rpc.serializer import TroveRequestContextSerializer

from wire import canary
from wire.instance import Instance, url

CALL_SECONDS = 15


def _transport(instance: Instance, directory: Path, transport_url: str) -> Any:
    """A transport with a configuration of its own."""
    file = directory / f"{instance.id}.conf"
    file.write_text(f"[DEFAULT]\ncontrol_exchange = {instance.exchange}\n")
    conf = cfg.ConfigOpts()
    conf([], project="wire", default_config_files=[str(file)])
    # The library registers these with the global configuration only.
    conf.register_opts(metrics.oslo_messaging_metrics, group="oslo_messaging_metrics")
    conf.register_opts(tracing.oslo_messaging_tracing, group="oslo_messaging_tracing")
    return messaging.get_rpc_transport(
        conf, url=transport_url, allowed_remote_exmods=["trove.common.exception"]
    )


class Client:
    """Calls and casts, the way trove.rpc.get_client sets them up."""

    def __init__(self, instance: Instance, transport: Any) -> None:
        base = TroveRequestContextSerializer(None)
        target = messaging.Target(topic=instance.topic, version="1.0")
        self._client = messaging.get_rpc_client(
            transport, target, serializer=SecureSerializer(base, instance.key)
        )
        self._context = TroveContext(
            user_id="wire", project_id="wire", auth_token=canary.make("token")
        )

    def call(
        self, method: str, *, version: str = "1.0", timeout: float = CALL_SECONDS, **args: Any
    ) -> Any:
        """Call; raises what the control plane would see."""
        prepared = self._client.prepare(version=version, timeout=timeout)
        return prepared.call(self._context, method, **args)

    def cast(self, method: str, *, version: str = "1.0", **args: Any) -> None:
        """Send without waiting for an answer."""
        self._client.prepare(version=version).cast(self._context, method, **args)


@contextmanager
def client(
    instance: Instance, directory: Path, transport_url: str | None = None
) -> Iterator[Client]:
    """A client with connections of its own."""
    transport = _transport(instance, directory, transport_url or url())
    try:
        yield Client(instance, transport)
    finally:
        transport.cleanup()


@dataclass
class Cast:
    """One cast that has reached the conductor."""

    method: str
    context: TroveContext
    args: dict[str, Any]


class Conductor:
    """Receives casts where trove-conductor would, with its signatures."""

    target = messaging.Target(version="1.0")

    def __init__(self) -> None:
        self._casts: queue.Queue[Cast] = queue.Queue()
        self.all: list[Cast] = []

    def heartbeat(self, context: Any, instance_id: str, payload: dict, sent: float) -> None:
        args = {"instance_id": instance_id, "payload": payload, "sent": sent}
        self._casts.put(Cast("heartbeat", context, args))

    def report_root(self, context: Any, instance_id: str) -> None:
        self._casts.put(Cast("report_root", context, {"instance_id": instance_id}))

    def notify_end(
        self, context: Any, serialized_notification: dict, notification_args: dict
    ) -> None:
        args = {"notification": serialized_notification, "args": notification_args}
        self._casts.put(Cast("notify_end", context, args))

    def notify_exc_info(
        self, context: Any, serialized_notification: dict, message: str, exception: list
    ) -> None:
        args = {"notification": serialized_notification, "message": message}
        self._casts.put(Cast("notify_exc_info", context, {**args, "exception": exception}))

    def next(self, timeout: float = 15.0) -> Cast:
        """The next cast in order of arrival."""
        try:
            cast = self._casts.get(timeout=timeout)
        except queue.Empty:
            said = [f"{c.method} {c.args}" for c in self.all]
            raise TimeoutError(f"no cast came; so far: {said}") from None
        self.all.append(cast)
        return cast

    def wait(self, method: str, timeout: float = 15.0) -> Cast:
        """The next cast of this method."""
        while (cast := self.next(timeout)).method != method:
            continue
        return cast

    def wait_status(self, status: str, timeout: float = 15.0) -> Cast:
        """The next heartbeat that says `status`."""
        while True:
            cast = self.wait("heartbeat", timeout)
            if cast.args["payload"]["service_status"] == status:
                return cast


@contextmanager
def conductor(instance: Instance, directory: Path, topic: str | None = None) -> Iterator[Conductor]:
    """A conductor that looks the instance's key up in Trove's database."""
    transport = _transport(instance, directory, url())
    endpoint = Conductor()
    target = messaging.Target(topic=topic or instance.conductor, server="wire")
    serializer = ConductorHostSerializer(TroveRequestContextSerializer(None), None)
    server = messaging.get_rpc_server(
        transport, target, [endpoint], executor="threading", serializer=serializer
    )
    server.start()
    try:
        yield endpoint
    finally:
        server.stop()
        server.wait()
        transport.cleanup()
