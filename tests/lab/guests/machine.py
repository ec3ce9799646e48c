"""The hypervisor's side of one guest: build, power on and off, destroy.

Files of a guest, all in its own directory:
  spec.json     what it is made of
  run.json      the running systemd-nspawn and the guest's init, while powered on
  upper, work   its root disk, an overlay over the datastore's tree
  root          where the overlay is mounted
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from lab import network
from lab.cache import remove_tree
from lab.cgroups import Cgroup
from lab.guests import agent, volumes
from lab.guests.spec import Disk, Spec
from lab.processes import Identity

BOOT_TIMEOUT = 30.0
# systemd's request for an orderly power-off (systemd(1), SIGRTMIN+4).
POWER_OFF = signal.SIGRTMIN + 4


class BootError(RuntimeError):
    """systemd-nspawn did not get a guest going; carries its words."""


class Machine:
    """One guest on disk and, while powered on, its processes."""

    # Real clouds give a guest 60 s (nova.conf shutdown_timeout) before the plug.
    shutdown_timeout = 60.0

    def __init__(self, directory: Path, lab: str, logs: Path) -> None:
        self.directory = directory
        self._lab = lab
        self._logs = logs / directory.name
        self._root = directory / "root"
        self._cgroup = Cgroup(lab, "guests", directory.name)
        self._nspawn: subprocess.Popen[bytes] | None = None

    @property
    def spec(self) -> Spec:
        return Spec.load(self.directory / "spec.json")

    def build(self, spec: Spec, binary: Path | None) -> None:
        """Make disk and network of a new guest; it is not powered on yet."""
        self.directory.mkdir(parents=True)
        spec.save(self.directory / "spec.json")
        self._create_network(spec)
        self._build_root(spec, binary)

    def rebuild(self, user_data: str, tree: str, binary: Path | None) -> None:
        """Give a powered-off guest a fresh root disk; volumes stay."""
        spec = self.spec
        spec.user_data, spec.tree = user_data, tree
        spec.save(self.directory / "spec.json")
        self._save_logs()
        self._unmount_root()
        self._build_root(spec, binary)

    def _create_network(self, spec: Spec) -> None:
        network.create_guest(spec.namespace)

    def _delete_network(self, spec: Spec) -> None:
        network.unplug(spec.namespace, spec.nics)
        network.delete(spec.namespace)

    def _build_root(self, spec: Spec, binary: Path | None) -> None:
        # Needs a YAML parser; removing a guest must work without one.
        from lab.guests import cloudinit

        for name in ("upper", "work"):
            remove_tree(self.directory / name)
            (self.directory / name).mkdir()
        self._root.mkdir(exist_ok=True)
        self._mount_root(spec)
        (self._root / "etc/machine-id").write_text(f"{secrets.token_hex(16)}\n")
        resolver = f"nameserver {network.LAB_ADDRESS}\n"
        (self._root / "etc/resolv.conf").write_text(resolver)
        hostname = re.sub(r"[^a-z0-9-]+", "-", spec.name.lower()).strip("-")
        cloudinit.apply(self._root, spec.user_data, hostname or "guest")
        if binary is not None:
            agent.install(self._root, binary)

    def power_on(self, ended: Callable[[int], None]) -> None:
        """Start the guest; returns when its init runs.

        `ended` is called with nspawn's exit status when the guest is off
        again, for whatever reason.
        """
        # Needs a YAML parser; removing a guest must work without one.
        from lab.guests import cloudinit

        spec = self.spec
        own = cloudinit.own_port(spec.user_data)
        network.plug(self._lab, spec.namespace, spec.nics, own)
        self._mount_root(spec)
        self._cgroup.create()
        binds = [
            f"--bind={volumes.attach(Path(d.path))}:{d.device}" for d in spec.disks
        ]
        # Abstract (a leading NUL): nothing to remove, no limit on the path.
        notify = f"{self._lab}-{spec.id}"
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        listener.bind(f"\0{notify}")
        argv = [
            "systemd-nspawn",
            "--quiet",
            "--boot",
            f"--directory={self._root}",
            f"--machine={self._lab}-{spec.id[:8]}",
            f"--network-namespace-path={network.NAMESPACES / spec.namespace}",
            # The namespace is the guest's own.
            "--capability=CAP_NET_ADMIN",
            # No systemd on the machine: no machined, no scope, nothing to link.
            "--register=no",
            "--keep-unit",
            "--link-journal=no",
            "--settings=no",
            "--resolv-conf=off",
            "--timezone=off",
            "--console=pipe",
            *binds,
        ]
        with open(self.directory / "console.log", "ab") as console:
            self._nspawn = subprocess.Popen(
                self._cgroup.wrap(argv),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
                env={
                    **os.environ,
                    "NOTIFY_SOCKET": f"@{notify}",
                    "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1",
                },
            )
        started = threading.Event()
        watcher = threading.Thread(
            target=self._watch,
            args=(self._nspawn, listener, started, ended),
            daemon=True,
        )
        watcher.start()
        if not started.wait(BOOT_TIMEOUT) or not self.powered_on():
            said = (self.directory / "console.log").read_text(errors="replace")
            self.power_off(graceful=False)
            raise BootError(f"guest {spec.id} did not start:\n{said[-2000:]}")

    def _watch(
        self,
        nspawn: subprocess.Popen[bytes],
        listener: socket.socket,
        started: threading.Event,
        ended: Callable[[int], None],
    ) -> None:
        """Follow one run: note the init's pid (again after each reboot)."""

        def receive() -> None:
            while message := listener.recv(4096):
                if leader := re.search(rb"X_NSPAWN_LEADER_PID=(\d+)", message):
                    self._record(nspawn.pid, int(leader[1]))
                    started.set()

        receiver = threading.Thread(target=receive, daemon=True)
        receiver.start()
        status = nspawn.wait()
        listener.shutdown(socket.SHUT_RDWR)  # ends `receive`
        receiver.join(1)
        listener.close()
        (self.directory / "run.json").unlink(missing_ok=True)
        started.set()
        ended(status)

    def _record(self, nspawn: int, leader: int) -> None:
        try:
            processes = {
                "nspawn": asdict(Identity.of(nspawn)),
                "leader": asdict(Identity.of(leader)),
            }
        except ProcessLookupError:
            return  # gone again; the watcher notices
        temporary = self.directory / "run.json.new"
        temporary.write_text(json.dumps(processes))
        os.rename(temporary, self.directory / "run.json")

    def _process(self, role: str) -> Identity | None:
        try:
            record = json.loads((self.directory / "run.json").read_text())
        except FileNotFoundError:
            return None
        return Identity(**record[role])

    def powered_on(self) -> bool:
        """Whether the guest's init runs."""
        leader = self._process("leader")
        return leader is not None and leader.alive()

    def power_off(self, graceful: bool) -> None:
        """Stop the guest, by its own shutdown or by pulling the plug."""
        leader, nspawn = self._process("leader"), self._process("nspawn")
        if graceful and leader is not None and leader.alive():
            self._ask_to_shut_down(leader)
            if nspawn is not None:
                nspawn.wait(self.shutdown_timeout)
        self._cgroup.destroy()
        if self._nspawn is not None:
            self._nspawn.wait()
            self._nspawn = None
        for disk in self.spec.disks:
            volumes.detach(Path(disk.path))

    def _ask_to_shut_down(self, leader: Identity) -> None:
        leader.kill(POWER_OFF)

    def extended(self, disk: Disk) -> None:
        """A volume has grown; a loop device shows it by itself."""

    def attach(self, disk: Disk) -> None:
        """Plug a volume in; the device appears at once in a running guest."""
        spec = self.spec
        spec.disks.append(disk)
        spec.save(self.directory / "spec.json")
        if (leader := self._process("leader")) and leader.alive():
            number = os.stat(volumes.attach(Path(disk.path))).st_rdev
            node = ["mknod", "--mode=0660", disk.device, "b"]
            node += [str(os.major(number)), str(os.minor(number))]
            self._in_mounts(leader, node)

    def detach(self, volume_id: str) -> None:
        """Unplug a volume."""
        spec = self.spec
        gone = [disk for disk in spec.disks if disk.volume_id == volume_id]
        spec.disks = [disk for disk in spec.disks if disk.volume_id != volume_id]
        spec.save(self.directory / "spec.json")
        for disk in gone:
            if (leader := self._process("leader")) and leader.alive():
                # A bind mount if it was there at boot, else a node of its own.
                script = 'umount "$1" 2>/dev/null; rm -f "$1"'
                self._in_mounts(leader, ["sh", "-c", script, "sh", disk.device])
            volumes.detach(Path(disk.path))

    @staticmethod
    def _in_mounts(leader: Identity, argv: list[str]) -> None:
        # Its /proc shows nothing of itself to those who are not among its processes.
        enter = ["nsenter", f"--target={leader.pid}", "--mount", "--pid"]
        subprocess.run([*enter, *argv], check=True)

    def destroy(self) -> None:
        """Remove everything but the logs; also what a crashed lab left."""
        if (self.directory / "spec.json").exists():
            self.power_off(graceful=False)
            self._save_logs()
            self._delete_network(self.spec)
        else:
            self._cgroup.destroy()
        self._unmount_root()
        remove_tree(self.directory)
        # nspawn removes it itself unless it was killed.
        leftover = Path("/run/systemd/nspawn/propagate")
        for path in leftover.glob(f"{self._lab}-{self.directory.name[:8]}"):
            path.rmdir()

    def _mount_root(self, spec: Spec) -> None:
        if not self._root.is_mount():
            layers = f"lowerdir={spec.tree},upperdir={self.directory / 'upper'}"
            layers += f",workdir={self.directory / 'work'}"
            argv = ["mount", "-t", "overlay", "-o", layers, self._lab, str(self._root)]
            subprocess.run(argv, check=True)

    def _unmount_root(self) -> None:
        if self._root.is_mount():
            subprocess.run(["umount", "--recursive", str(self._root)], check=True)

    def _save_logs(self) -> None:
        """Keep journal, log files and console of the root disk that goes."""
        self._logs.mkdir(parents=True, exist_ok=True)
        source = self.directory / "upper/var/log"
        if source.is_dir():
            shutil.copytree(source, self._logs / "var-log", dirs_exist_ok=True)
        console = self.directory / "console.log"
        if console.exists():
            shutil.copyfile(console, self._logs / "console.log")
