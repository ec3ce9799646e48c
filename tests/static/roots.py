"""Running the agent with another directory as its root.

Every run has a mount namespace of its own, in which the root is an overlay: a
Debian tree (or nothing) below, the binary and the test's files above. Mounts
vanish with the last process; what was written can be read in `upper`.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab import network, rabbitmq
from lab.waiting import eventually

from static import trace

PROGRAM = "/usr/local/bin/trove-guestagent"
CONFIG_DIR = "/etc/trove/conf.d"
CONFIG = f"--config-dir={CONFIG_DIR}"
CA_FILE = "/etc/trove/certs/ca.pem"
# Nobody waits longer than this for one run.
LIMIT = 60.0

# Arguments: the overlay's options, its mount point, then the command.
ENTER = """\
mount -t overlay -o "$1" overlay "$2"
if [ -d "$2/proc" ]; then
    mount --rbind /proc "$2/proc"
fi
shift 2
exec "$@"
"""


@dataclass(frozen=True)
class Done:
    """A finished run. A negative status is the signal that ended it."""

    status: int
    out: str
    err: str

    def steps(self) -> list[tuple[bool, str]]:
        """`doctor`'s findings: whether it is well, and the line's text."""
        found = re.findall(r"^(ok  |FAIL) (.*)$", self.out, re.MULTILINE)
        return [(verdict == "ok  ", text) for verdict, text in found]

    def broken(self) -> list[str]:
        """The texts of what `doctor` found broken."""
        return [text for well, text in self.steps() if not well]


class Agent:
    """The agent, running as a service in a root."""

    def __init__(self, root: Root, tracer: subprocess.Popen[bytes], log: Path) -> None:
        self._root = root
        self.tracer = tracer
        self._log = log

    @property
    def pid(self) -> int:
        """Its process; strace has no other child."""
        pid = self.tracer.pid
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text())

    def log(self) -> str:
        """What it has written to standard error."""
        return self._log.read_text()

    def libraries(self) -> list[str]:
        """Shared libraries in its memory."""
        maps = Path(f"/proc/{self.pid}/maps").read_text()
        return [line for line in maps.splitlines() if ".so" in line]

    def run(self, *arguments: str) -> Done:
        """Run the program beside it, in the same root."""
        enter = ["nsenter", f"--target={self.pid}", "--mount", "--net", "--root", "--wd"]
        return self._root.traced([], [*enter, PROGRAM, *arguments], PROGRAM)

    def stop(self) -> int:
        """Ask it to end; its exit status, or the negative signal."""
        os.kill(self.pid, signal.SIGTERM)
        return self.tracer.wait(LIMIT)


class Root:
    """One root directory, with nothing in it but what the test wants."""

    def __init__(self, directory: Path, tree: Path | None, namespace: str) -> None:
        self._directory = directory
        self._tree = tree
        self._namespace = namespace
        self._runs = 0
        for name in ("nothing", "upper", "work", "root", "trace"):
            (directory / name).mkdir(parents=True)

    @property
    def debian(self) -> bool:
        """Whether there is a Debian system in it."""
        return self._tree is not None

    def install(self, source: Path, path: str) -> None:
        """Put a program into it."""
        target = self._directory / "upper" / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(source, target)

    def write(self, path: str, text: str) -> None:
        """Put a file into it. Not while something runs there."""
        target = self._directory / "upper" / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def read(self, path: str) -> str:
        """A file as the programs in the root see it."""
        layers = [self._directory / "upper", *([self._tree] if self._tree else [])]
        found = [layer / path.lstrip("/") for layer in layers]
        return next(file for file in found if file.exists()).read_text()

    def files(self) -> set[str]:
        """Every file that was put or written into it."""
        upper = self._directory / "upper"
        return {f"/{p.relative_to(upper)}" for p in upper.rglob("*") if not p.is_dir()}

    def _entering(self) -> list[str]:
        lower = self._tree or self._directory / "nothing"
        layers = f"lowerdir={lower},upperdir={self._directory / 'upper'}"
        layers += f",workdir={self._directory / 'work'}"
        unshare = ["unshare", "--mount", "--propagation=private", "--"]
        script = ["sh", "-euc", ENTER, "sh", layers, str(self._directory / "root")]
        return unshare + network.entering(self._namespace, script)

    def _chroot(self, argv: list[str]) -> list[str]:
        return ["chroot", str(self._directory / "root"), *argv]

    def _start(self, before: list[str], argv: list[str], output: Path) -> subprocess.Popen[bytes]:
        prefix = self._directory / "trace" / output.name
        with open(f"{output}.out", "wb") as out, open(f"{output}.err", "wb") as err:
            return subprocess.Popen(
                [*before, *trace.command(prefix), *argv],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
            )

    def _next(self) -> Path:
        self._runs += 1
        return self._directory / f"run-{self._runs}"

    def _check(self, output: Path, program: str) -> None:
        loaded = trace.shared_objects(self._directory / "trace" / output.name, program)
        assert loaded == [], f"{program} loaded libraries of the root"

    def traced(self, before: list[str], argv: list[str], program: str) -> Done:
        """Run to the end. `program` must not have opened a shared library."""
        output = self._next()
        process = self._start(before, argv, output)
        try:
            status = process.wait(LIMIT)
        finally:
            _kill_group(process)
        out, err = (Path(f"{output}.{kind}").read_text() for kind in ("out", "err"))
        self._check(output, program)
        return Done(status, out, err)

    def run(self, *arguments: str) -> Done:
        """Run the agent's program to its end."""
        return self.traced(self._entering(), self._chroot([PROGRAM, *arguments]), PROGRAM)

    def loaded_by(self, program: str) -> tuple[int, list[str]]:
        """Run another program: its status and the libraries it opened."""
        output = self._next()
        process = self._start(self._entering(), self._chroot([program]), output)
        try:
            status = process.wait(LIMIT)
        finally:
            _kill_group(process)
        prefix = self._directory / "trace" / output.name
        return status, trace.shared_objects(prefix, program)

    @contextmanager
    def agent(self, guest_id: str) -> Iterator[Agent]:
        """Run the agent until the end of the block; yields when it consumes."""
        output = self._next()
        process = self._start(self._entering(), self._chroot([PROGRAM, CONFIG]), output)
        agent = Agent(self, process, Path(f"{output}.err"))

        def listening() -> bool:
            if process.poll() is not None:
                raise ChildProcessError(f"status {process.returncode}: {agent.log()}")
            return rabbitmq.consumers(f"guestagent.{guest_id}") > 0

        try:
            eventually(listening, LIMIT)
            yield agent
        finally:
            _kill_group(process)
        self._check(output, PROGRAM)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """End what is left of a run."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()
