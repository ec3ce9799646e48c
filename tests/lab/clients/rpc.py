"""Calling a guest's agent directly, through Trove's own RPC client stack.

oslo.messaging with Trove's serializers: the same code that runs in
trove-taskmanager, so what it accepts is what the control plane accepts.
The calling thread must be inside the lab's network.
"""

from __future__ import annotations

import base64
import configparser
import threading
from pathlib import Path
from typing import Any

import oslo_messaging as messaging
import yaml
from trove import rpc
from trove.common import cfg
from trove.common.context import TroveContext

from lab.guests.spec import Spec

_configured: Path | None = None
# Trove's configuration is global, and tests may call from several threads.
_configuring = threading.Lock()


def configure(trove_conf: Path) -> None:
    """Load the lab's trove.conf into Trove's global configuration, once."""
    global _configured
    with _configuring:
        if _configured == trove_conf:
            return
        if _configured is not None:
            rpc.cleanup()
        cfg.CONF.reset()
        cfg.parse_args(["lab", f"--config-file={trove_conf}"])
        rpc.init(cfg.CONF)
        _configured = trove_conf


def injected_key(spec: Spec) -> str | None:
    """The RPC key that Trove put into a guest; None if it speaks clear text."""
    config = yaml.safe_load(base64.b64decode(spec.user_data))
    for entry in config["write_files"]:
        if entry["path"].endswith("guest_info.conf"):
            parser = configparser.ConfigParser(interpolation=None)
            parser.read_string(base64.b64decode(entry["content"]).decode())
            return parser["DEFAULT"].get("instance_rpc_encr_key")
    raise LookupError("no guest_info.conf in the user data")


class RpcClient:
    """Calls and casts to the agent of one instance."""

    def __init__(
        self,
        trove_conf: Path,
        instance_id: str,
        key: str | None,
        timeout: float = 15.0,
        token: str | None = None,
    ) -> None:
        """`key` None sends clear text. `timeout` in seconds, 15 as Trove's own.
        `token` is that of the user on whose behalf the agent is called."""
        configure(trove_conf)
        self._timeout = timeout
        self._context = TroveContext(
            user_id="lab", project_id="lab", is_admin=True, auth_token=token
        )
        target = messaging.Target(topic=f"guestagent.{instance_id}", version="1.0")
        self._client = rpc.get_client(target, key=key, version_cap=None)

    def call(
        self,
        method: str,
        *,
        version: str = "1.0",
        timeout: float | None = None,
        **args: Any,
    ) -> Any:
        """Call and wait for the result; raises what the control plane would see."""
        prepared = self._client.prepare(
            version=version, timeout=self._timeout if timeout is None else timeout
        )
        return prepared.call(self._context, method, **args)

    def cast(self, method: str, *, version: str = "1.0", **args: Any) -> None:
        """Send without waiting for an answer."""
        self._client.prepare(version=version).cast(self._context, method, **args)
