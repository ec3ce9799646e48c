"""The real binary without a guest: in a root directory of its own.

A mount namespace with a guest tree under an overlay and a private /run and
/dev: the agent creates its account, formats and mounts its volume and keeps
its state for real, and neither the machine nor its service manager is within
reach. What it wrote stays in `upper` and `run` after its end.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from lab import network
from lab.cache import remove_tree
from lab.cgroups import Cgroup
from lab.guests import volumes

from wire.broker import BrokerLab
from wire.instance import Instance, url

PROGRAM = "/usr/local/bin/trove-guestagent"
CONFIG_DIR = "/etc/trove/conf.d"
# ext4 wants some room for its journal.
VOLUME_BYTES = 64 << 20

# Arguments: directory, guest tree, agent, loop device or nothing.
ENTER = """\
set -e
cd "$1"
mount -t overlay -o "lowerdir=$2,upperdir=upper,workdir=work" wire root
mount --bind run root/run
mount --bind /proc root/proc
mount --bind /sys root/sys
mount -t tmpfs -o mode=0755 wire root/dev
mkdir root/dev/shm
for node in null:3 zero:5 full:7 random:8 urandom:9; do
    mknod -m 666 "root/dev/${node%:*}" c 1 "${node#*:}"
done
if [ -n "$4" ]; then
    mknod -m 660 root/dev/vdb b 7 "${4#/dev/loop}"
fi
: >root/usr/local/bin/trove-guestagent
mount --bind "$3" root/usr/local/bin/trove-guestagent
exec chroot root /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /usr/local/bin/trove-guestagent --config-dir=/etc/trove/conf.d
"""


class Agent:
    """A running agent and its log, line by line as it comes."""

    def __init__(self, directory: Path, process: subprocess.Popen[str], instance: Instance) -> None:
        self.directory = directory
        self.instance = instance
        self.process = process
        self.lines: list[tuple[float, str]] = []
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        with open(self.directory / "stderr", "a") as copy:
            for line in self.process.stderr:
                copy.write(line)
                copy.flush()
                with self._news:
                    self.lines.append((time.monotonic(), line.rstrip("\n")))
                    self._news.notify_all()
        with self._news:
            self._news.notify_all()

    def mark(self) -> int:
        """A place in the log, to look only at what comes after it."""
        with self._news:
            return len(self.lines)

    def log(self, since: int = 0) -> list[str]:
        """The lines so far."""
        with self._news:
            return [line for _, line in self.lines[since:]]

    def logged(self, pattern: str, since: int = 0) -> list[str]:
        """Lines so far that match."""
        return [line for line in self.log(since) if re.search(pattern, line)]

    def wait_log(self, pattern: str, *, since: int = 0, timeout: float = 10.0) -> float:
        """Wait for a line that matches; when it came (CLOCK_MONOTONIC)."""
        deadline = time.monotonic() + timeout
        at = since
        with self._news:
            while True:
                for when, line in self.lines[at:]:
                    if re.search(pattern, line):
                        return when
                at = len(self.lines)
                left = deadline - time.monotonic()
                if left <= 0 or self.process.poll() is not None:
                    tail = "\n".join(line for _, line in self.lines[-15:])
                    raise TimeoutError(f"agent did not log {pattern!r}:\n{tail}")
                self._news.wait(min(left, 1.0))

    def wait_listening(self, since: int = 0, timeout: float = 10.0) -> float:
        """Wait until requests are delivered to it; when that was."""
        return self.wait_log(r"\bListening\.", since=since, timeout=timeout)

    def alive(self) -> bool:
        """Whether the process still runs."""
        return self.process.poll() is None

    def path(self, inside: str) -> Path:
        """A file of the running agent's root, mounts included."""
        return Path(f"/proc/{self.process.pid}/root{inside}")

    def state(self) -> dict:
        """What it tells `status` about itself."""
        return json.loads(self.path("/run/trove-guestagent/state.json").read_text())

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the program with other arguments beside the agent."""
        argv = ["nsenter", f"--target={self.process.pid}", "--mount", "--root", "--wd"]
        argv += ["env", "-i", *(f"{name}={value}" for name, value in environment.items())]
        argv += [PROGRAM, f"--config-dir={CONFIG_DIR}", *arguments]
        return subprocess.run(
            argv, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL
        )

    def descriptors(self) -> int:
        """How many files and sockets it has open."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def rss(self) -> int:
        """Resident memory in bytes."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) << 10
        raise ProcessLookupError(self.process.pid)

    def stop(self, timeout: float = 30.0) -> int:
        """Ask it to end; its exit status. Killed if it does not."""
        if self.alive():
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            self._reader.join(5)
            volumes.detach(self.directory)
            (self.directory / "volume").unlink(missing_ok=True)


class Sandbox:
    """Makes agents; all of them live in one control group of the lab."""

    def __init__(self, lab: BrokerLab) -> None:
        self._lab = lab
        self._group = Cgroup(lab.name, "agents")
        self._group.create()
        self._made = 0
        self.agents: list[Agent] = []

    @contextmanager
    def agent(
        self,
        instance: Instance,
        *,
        transport_url: str | None = None,
        default: Mapping[str, object] = {},
        rabbit: Mapping[str, object] = {},
        own: Mapping[str, object] = {},
        files: Mapping[str, Path] = {},
        volume: bool = True,
        wait: bool = True,
        after: Agent | None = None,
    ) -> Iterator[Agent]:
        """Run an agent. The first mappings are options of [DEFAULT],
        [oslo_messaging_rabbit] and [guest_agent]; `files` are copied to the
        paths they are mapped from. `after` gives it the root of one that has
        ended, as after a restart."""
        directory = after.directory if after else self._directory(instance)
        upper = directory / "upper"
        for inside, source in files.items():
            target = upper / inside.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
        config = {
            "guest_info.conf": {
                "DEFAULT": {
                    "guest_id": instance.id,
                    "datastore_manager": "mariadb",
                    "datastore_version": "10.11",
                    **({"instance_rpc_encr_key": instance.key} if instance.key else {}),
                }
            },
            "trove-guestagent.conf": {
                "DEFAULT": {
                    "transport_url": transport_url or url(),
                    "control_exchange": instance.exchange,
                    "conductor_queue": instance.conductor,
                    "debug": True,
                    "state_change_wait_time": 2,
                    **default,
                },
                "oslo_messaging_rabbit": rabbit,
                # There is no object store in this lab, however long one asks.
                "guest_agent": {"object_store_tries": 1, **own},
            },
        }
        for name, sections in config.items():
            path = upper / CONFIG_DIR.lstrip("/") / name
            path.write_text(_ini(sections))
            path.chmod(0o644)  # as cloud-init leaves it
        agent = self._start(directory, instance, volume)
        try:
            if wait:
                agent.wait_listening()
            yield agent
        finally:
            agent.stop()

    def _directory(self, instance: Instance) -> Path:
        self._made += 1
        directory = self._lab.state / "agents" / f"{self._made:03}-{instance.id[:8]}"
        for name in ("upper", "work", "run", "root"):
            (directory / name).mkdir(parents=True)
        upper = directory / "upper"
        (upper / CONFIG_DIR.lstrip("/")).mkdir(parents=True)
        (upper / "etc/resolv.conf").write_text(f"nameserver {network.LAB_ADDRESS}\n")
        return directory

    def _start(self, directory: Path, instance: Instance, volume: bool) -> Agent:
        device = ""
        if volume:
            with open(directory / "volume", "xb") as file:
                file.truncate(VOLUME_BYTES)
            device = volumes.attach(directory / "volume")
        tree = self._lab.parts.trees["mariadb"].path
        argv = ["unshare", "--mount", "--propagation=private", "--", "sh", "-c", ENTER, "sh"]
        argv += [str(directory), str(tree), str(self._lab.binary), device]
        process = subprocess.Popen(
            self._group.wrap(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        agent = Agent(directory, process, instance)
        self.agents.append(agent)
        return agent

    def clean(self) -> None:
        """Forget what the agents left; none may run any more."""
        remove_tree(self._lab.state / "agents")


def _ini(sections: Mapping[str, Mapping[str, object]]) -> str:
    lines = []
    for section, options in sections.items():
        lines.append(f"[{section}]")
        lines += [f"{name} = {value}" for name, value in options.items()]
    # oslo.config would interpolate a dollar sign.
    return "\n".join(lines).replace("$", "$$") + "\n"
