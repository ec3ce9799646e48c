"""Guests as virtual machines, by emulation: what an image does on a real cloud.

Files of such a guest, beside spec.json and run.json:
  disk.qcow2    its root disk, on top of the image
  config.iso    the config drive
  console.log   its serial console
  qmp.sock      where the emulator takes orders
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lab import network
from lab.guests import config_drive
from lab.guests.machine import BootError, Machine
from lab.guests.spec import Disk, Spec
from lab.processes import Identity

# The plainest there is, and one of it: with more of either, Debian 12's emulator now
# and then takes a kernel down.
PROCESSOR = "qemu64"
MEMORY_MIB = 1536


class VirtualMachine(Machine):
    """One guest in an emulator. Its agent is the image's."""

    # An emulated guest takes its time.
    shutdown_timeout = 240.0

    def _create_network(self, spec: Spec) -> None:
        network.create_taps(self._lab, spec.nics)

    def _delete_network(self, spec: Spec) -> None:
        network.delete_taps(self._lab, spec.nics)

    def _build_root(self, spec: Spec, binary: Path | None) -> None:
        disk = self.directory / "disk.qcow2"
        disk.unlink(missing_ok=True)
        argv = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", spec.tree]
        subprocess.run([*argv, str(disk), "8G"], check=True)
        config_drive.make(self.directory / "config.iso", spec, self.directory.parents[1])

    def _unmount_root(self) -> None:
        """The root disk is no directory of this machine's."""

    def _drives(self, spec: Spec) -> list[str]:
        files = [("root", self.directory / "disk.qcow2", "qcow2")]
        files += [(disk.volume_id, Path(disk.path), "raw") for disk in spec.disks]
        drives = []
        for name, path, kind in files:  # in the order of /dev/vda, /dev/vdb ...
            options = f"file={path},format={kind},if=none,id=disk-{name},cache=unsafe"
            drives += ["-drive", options, "-device", f"virtio-blk-pci,drive=disk-{name}"]
        drives += ["-drive", f"file={self.directory / 'config.iso'},format=raw,media=cdrom"]
        return drives

    def _interfaces(self, spec: Spec) -> list[str]:
        options = []
        for nic in spec.nics:
            tap = network.port(nic)
            options += ["-netdev", f"tap,id={tap},ifname={tap},script=no,downscript=no"]
            options += ["-device", f"virtio-net-pci,netdev={tap},mac={nic.mac},romfile="]
        return options

    def power_on(self, ended: Callable[[int], None]) -> None:
        """Start the emulator; returns when it runs."""
        spec = self.spec
        self._cgroup.create()
        qmp = self.directory / "qmp.sock"
        qmp.unlink(missing_ok=True)
        argv = ["qemu-system-x86_64", "-name", spec.id, "-display", "none"]
        argv += ["-accel", "tcg,thread=single", "-cpu", PROCESSOR, "-smp", "1"]
        argv += ["-m", str(MEMORY_MIB), "-device", "virtio-rng-pci", "-vga", "none"]
        serial = f"file,id=serial,path={self.directory / 'console.log'},append=on"
        argv += ["-chardev", serial, "-serial", "chardev:serial"]
        argv += ["-qmp", f"unix:{qmp},server=on,wait=off"]
        argv += [*self._drives(spec), *self._interfaces(spec)]
        with open(self.directory / "emulator.log", "ab") as log:
            self._nspawn = subprocess.Popen(
                self._cgroup.wrap(network.entering(self._lab, argv)),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        emulator = self._nspawn
        if not _answers(qmp, emulator):
            said = (self.directory / "emulator.log").read_text(errors="replace")
            self.power_off(graceful=False)
            raise BootError(f"guest {spec.id} did not start:\n{said[-2000:]}")
        self._record(emulator.pid, emulator.pid)

        def watch() -> None:
            status = emulator.wait()
            (self.directory / "run.json").unlink(missing_ok=True)
            ended(status)

        threading.Thread(target=watch, daemon=True).start()

    def _ask_to_shut_down(self, leader: Identity) -> None:
        """Press the power button."""
        _command(self.directory / "qmp.sock", "system_powerdown")

    def extended(self, disk: Disk) -> None:
        """Tell a running machine that a volume has grown."""
        if self.powered_on():
            size = Path(disk.path).stat().st_size
            device = f"disk-{disk.volume_id}"
            _command(self.directory / "qmp.sock", "block_resize", device=device, size=size)

    def attach(self, disk: Disk) -> None:
        """Plug a volume in; only while the machine is off."""
        if self.powered_on():
            raise BootError("volumes of a virtual machine are plugged in while it is off")
        spec = self.spec
        spec.disks.append(disk)
        spec.save(self.directory / "spec.json")

    def detach(self, volume_id: str) -> None:
        """Unplug a volume; only while the machine is off."""
        if self.powered_on():
            raise BootError("volumes of a virtual machine are unplugged while it is off")
        spec = self.spec
        spec.disks = [disk for disk in spec.disks if disk.volume_id != volume_id]
        spec.save(self.directory / "spec.json")

    def _save_logs(self) -> None:
        self._logs.mkdir(parents=True, exist_ok=True)
        for name in ("console.log", "emulator.log"):
            if (self.directory / name).exists():
                shutil.copyfile(self.directory / name, self._logs / name)


def _answers(qmp: Path, emulator: subprocess.Popen[bytes]) -> bool:
    """Whether the emulator takes orders; waits until it does or has ended."""
    while emulator.poll() is None:
        try:
            _command(qmp, "query-status")
            return True
        except (FileNotFoundError, ConnectionRefusedError):
            try:
                emulator.wait(0.05)
            except subprocess.TimeoutExpired:
                pass
    return False


def _command(qmp: Path, name: str, **arguments: Any) -> Any:
    """Run one command of the QEMU Machine Protocol; its result."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(30)
        connection.connect(str(qmp))
        lines = connection.makefile("rw")
        lines.readline()  # the greeting
        orders: list[Any] = [{"execute": "qmp_capabilities"}]
        orders.append({"execute": name, "arguments": arguments})
        for order in orders:
            lines.write(json.dumps(order) + "\n")
            lines.flush()
            # Events may come in between.
            while "return" not in (answer := json.loads(lines.readline())):
                if "error" in answer:
                    raise BootError(f"{order}: {answer['error']}")
        return answer["return"]
