"""Nova's compute side: runs power operations of the guests, one at a time each.

Requests return while a guest boots or shuts down, as with the real thing; what
is under way shows in the server's task state.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from lab.guests.kinds import machine_in
from lab.guests.machine import Machine
from lab.guests.spec import Disk, Spec


class Compute:
    """All guests of the cloud, by server id."""

    def __init__(self, state: Path, lab: str, binary: Path | None) -> None:
        self._directory = state / "guests"
        self._logs = state / "log" / "guests"
        self._lab = lab
        self._binary = binary
        self._machines: dict[str, Machine] = {}
        self._workers: dict[str, ThreadPoolExecutor] = {}
        self._lock = threading.Lock()

    def submit(
        self,
        server_id: str,
        work: Callable[[], None],
        done: Callable[[Exception | None], None],
    ) -> None:
        """Do `work` after what was submitted before for the same server."""

        def finished(future: Future[None]) -> None:
            error = future.exception()
            if error is not None:
                traceback.print_exception(error)
            done(error if isinstance(error, Exception) else None)

        with self._lock:
            worker = self._workers.setdefault(server_id, ThreadPoolExecutor(1))
        worker.submit(work).add_done_callback(finished)

    def machine(self, server_id: str, spec: Spec | None = None) -> Machine:
        """The hypervisor's handle of a server; `spec` of one that is new."""
        with self._lock:
            if server_id not in self._machines:
                directory = self._directory / server_id
                machine = machine_in(directory, self._lab, self._logs, spec)
                self._machines[server_id] = machine
            return self._machines[server_id]

    def namespace(self, server_id: str) -> str:
        """Name of a server's network namespace."""
        return f"{self._lab}-{server_id[:8]}"

    def spawn(self, spec: Spec, ended: Callable[[], None]) -> None:
        """Build and power on; the binary is taken as it is at this moment."""
        machine = self.machine(spec.id, spec)
        machine.build(spec, self._binary)
        machine.power_on(lambda _status: ended())

    def power_on(self, server_id: str, ended: Callable[[], None]) -> None:
        self.machine(server_id).power_on(lambda _status: ended())

    def power_off(self, server_id: str, graceful: bool) -> None:
        self.machine(server_id).power_off(graceful)

    def rebuild(self, server_id: str, user_data: str, tree: str) -> None:
        self.machine(server_id).rebuild(user_data, tree, self._binary)

    def attach(self, server_id: str, disk: Disk) -> None:
        self.machine(server_id).attach(disk)

    def extended(self, server_id: str, volume_id: str) -> None:
        """A volume that a server has is larger than before."""
        machine = self.machine(server_id)
        for disk in machine.spec.disks:
            if disk.volume_id == volume_id:
                machine.extended(disk)

    def detach(self, server_id: str, volume_id: str) -> None:
        self.machine(server_id).detach(volume_id)

    def destroy(self, server_id: str) -> None:
        """Pull the plug and delete the root disk."""
        self.machine(server_id).destroy()
        with self._lock:
            self._machines.pop(server_id, None)
            worker = self._workers.pop(server_id)
        worker.shutdown(wait=False)

    def console(self, server_id: str, name: str, content: str) -> None:
        """Keep a document about a server beside its logs."""
        directory = self._logs / server_id
        directory.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(content)
