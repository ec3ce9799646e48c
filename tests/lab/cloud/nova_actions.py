"""Compute v2.1: what is done to servers, as tasks in the background."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from lab.cloud.http import HttpError, Request, Response, route
from lab.cloud.nova_base import NovaBase
from lab.cloud.state import Record, now


class NovaActions(NovaBase):
    """Reboot, resize, rebuild and the like."""

    # Tasks

    def _task(
        self, server_id: str, task: str, work: Callable[[], None], status: str
    ) -> None:
        """Run `work` in the background; then the server has `status`, or ERROR."""

        def done(error: Exception | None) -> None:
            with self._state.change():
                server = self._state["servers"].get(server_id)
                if server is None:
                    return
                server.update(task=None, updated=now())
                if error is None:
                    server["status"] = status
                else:
                    fault = {"code": 500, "created": now(), "message": str(error)}
                    server.update(status="ERROR", fault=fault)

        with self._state.change():
            self._server(server_id)["task"] = task
        self._compute.submit(server_id, work, done)

    def _ended(self, server_id: str) -> None:
        """The guest is off. Outside of a task it did that by itself."""
        with self._state.change():
            server = self._state["servers"].get(server_id)
            if server is not None and server["task"] is None:
                server.update(status="SHUTOFF", updated=now())

    def _restart(self, server_id: str, graceful: bool) -> None:
        self._compute.power_off(server_id, graceful)
        self._compute.power_on(server_id, lambda: self._ended(server_id))

    # Actions

    @route("POST", "/v2.1/servers/{server_id}/action")
    def action(self, request: Request, server_id: str) -> Response:
        server = self._server(server_id)
        body = request.json()
        name = next(iter(body), "")
        handlers: dict[str, Callable[[Record, Any], Response]] = {
            "reboot": self._reboot,
            "resize": self._resize,
            "migrate": self._migrate,
            "confirmResize": self._confirm_resize,
            "revertResize": self._revert_resize,
            "rebuild": self._rebuild,
            "os-start": self._start,
            "os-stop": self._stop,
        }
        if name not in handlers:
            raise HttpError(400, f"There is no such action: {name}.")
        if server["task"] is not None:
            raise HttpError(
                409,
                f"Cannot '{name}' instance {server_id} while it is in "
                f"task_state {server['task']}",
            )
        return handlers[name](server, body[name])

    def _reboot(self, server: Record, arguments: Any) -> Response:
        self._require(server, "ACTIVE", "SHUTOFF", "ERROR")
        graceful = (arguments or {}).get("type", "SOFT").upper() == "SOFT"
        with self._state.change():
            server["status"] = "REBOOT" if graceful else "HARD_REBOOT"
        self._task(
            server["id"],
            "rebooting",
            lambda: self._restart(server["id"], graceful),
            "ACTIVE",
        )
        return Response(202)

    def _move(self, server: Record, flavor: str) -> Response:
        """Resize and migrate: off here, on there, waiting for a decision."""
        self._require(server, "ACTIVE", "SHUTOFF")
        with self._state.change():
            server.update(old_flavor=server["flavor"], flavor=flavor, status="RESIZE")
        self._task(
            server["id"],
            "resize_prep",
            lambda: self._restart(server["id"], graceful=True),
            "VERIFY_RESIZE",
        )
        return Response(202)

    def _resize(self, server: Record, arguments: Any) -> Response:
        flavor = str(arguments["flavorRef"]).rsplit("/", 1)[-1]
        self._flavor(flavor)
        return self._move(server, flavor)

    def _migrate(self, server: Record, _arguments: Any) -> Response:
        return self._move(server, server["flavor"])

    def _confirm_resize(self, server: Record, _arguments: Any) -> Response:
        self._require(server, "VERIFY_RESIZE")
        with self._state.change():
            server.update(status="ACTIVE", updated=now())
        return Response(204)

    def _revert_resize(self, server: Record, _arguments: Any) -> Response:
        self._require(server, "VERIFY_RESIZE")
        with self._state.change():
            server.update(flavor=server["old_flavor"], status="REVERT_RESIZE")
        self._task(
            server["id"],
            "resize_reverting",
            lambda: self._restart(server["id"], graceful=True),
            "ACTIVE",
        )
        return Response(202)

    def _rebuild(self, server: Record, arguments: Any) -> Response:
        self._require(server, "ACTIVE", "SHUTOFF", "ERROR")
        image = arguments["imageRef"]
        tree = self._tree(image)
        server_id = server["id"]
        user_data = arguments.get("user_data")

        def work() -> None:
            self._compute.power_off(server_id, graceful=True)
            kept = self._compute.machine(server_id).spec.user_data
            self._compute.rebuild(server_id, user_data or kept, tree)
            self._compute.power_on(server_id, lambda: self._ended(server_id))

        with self._state.change():
            server.update(status="REBUILD", image=image)
        self._compute.console(
            server_id, "rebuild.json", json.dumps(arguments, indent=1)
        )
        self._task(server_id, "rebuilding", work, "ACTIVE")
        return Response(202, {"server": self._view(server)})

    def _start(self, server: Record, _arguments: Any) -> Response:
        self._require(server, "SHUTOFF")
        server_id = server["id"]
        self._task(
            server_id,
            "powering-on",
            lambda: self._compute.power_on(server_id, lambda: self._ended(server_id)),
            "ACTIVE",
        )
        return Response(202)

    def _stop(self, server: Record, _arguments: Any) -> Response:
        self._require(server, "ACTIVE", "ERROR")
        self._task(
            server["id"],
            "powering-off",
            lambda: self._compute.power_off(server["id"], graceful=True),
            "SHUTOFF",
        )
        return Response(202)
