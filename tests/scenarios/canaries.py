"""Secrets that are told from everything else, and all places they could show up in."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from lab import settings
from lab.guests.guest import Guest
from lab.lab import Lab
from lab.waiting import eventually

from scenarios.conftest import Instance

# Follows every canary: what must be quoted in SQL, URLs and option files.
AWKWARD = "'\\%:\"w"
# What is in memory or on the volume, in the guest.
MOUNTS = ("var/lib/mysql", "run", "tmp", "dev/shm")


@dataclass
class Canaries:
    """Text to search for, by what it is."""

    needles: dict[str, str] = field(default_factory=dict)

    def plain(self, what: str) -> str:
        """A new secret that needs no quoting anywhere."""
        self.needles[what] = f"canary{secrets.token_hex(12)}"
        return self.needles[what]

    def password(self, owner: str) -> str:
        """A new password; the part of it that no quoting changes is a needle."""
        return self.plain(f"password of {owner}") + AWKWARD

    def found_in(self, text: str) -> list[str]:
        """What the text gives away."""
        return [what for what, needle in self.needles.items() if needle in text]

    def talkative(self, executions: Iterable[str]) -> list[list[str]]:
        """Arguments of the recorded programs that were told a secret."""
        seen = [json.loads(line) for line in executions]
        return [
            entry["argv"]
            for entry in seen
            if self.found_in("\0".join(entry["argv"] + entry["environment"]))
        ]

    def in_journal(self, guest: Guest) -> list[str]:
        """Whose entries hold a secret: every field, every unit, at debug level."""
        return [
            str(entry.get("_CMDLINE"))
            for entry in guest.journal(unit=None)
            # Fields as they are: JSON would escape what is awkward.
            if self.found_in("\0".join(map(str, entry.values())))
        ]

    def in_files(self, lab: Lab, guest: Guest) -> dict[str, os.stat_result]:
        """The files that hold a secret, by their names in the guest: everything
        written since the image, on root disk and volume and in memory."""
        inside = Path(f"/proc/{guest.leader().pid}/root")
        root_disk = lab.state / "guests" / guest.id / "upper"
        places = {root_disk: "", **{inside / mount: f"{mount}/" for mount in MOUNTS}}
        holding = {}
        for path in search(list(places), list(self.needles.values())):
            place = next(place for place in places if path.is_relative_to(place))
            try:
                status = path.stat()
            except FileNotFoundError:  # it lived as long as what it was for
                continue
            holding[places[place] + str(path.relative_to(place))] = status
        return holding


def search(places: list[Path], needles: list[str]) -> list[Path]:
    """Regular files below `places` that hold any of the needles."""
    grep = ["grep", "--files-with-matches", "--text", "--fixed-strings"]
    patterns = [f"--regexp={needle}" for needle in needles]
    done = subprocess.run(
        ["find", *map(str, places), "-xdev", "-type", "f"]
        + ["-exec", *grep, *patterns, "{}", "+"],
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
    )
    gone = "No such file or directory"
    assert [line for line in done.stderr.splitlines() if gone not in line] == []
    return [Path(line) for line in done.stdout.splitlines()]


@dataclass
class Watched:
    """An instance and what was seen of its guest."""

    instance: Instance
    # Arguments and environments of all programs, one JSON object each.
    executions: list[str] = field(default_factory=list)
    # Of all processes, at several moments.
    processes: list[str] = field(default_factory=list)

    @property
    def guest(self) -> Guest:
        return self.instance.guest

    @property
    def programs(self) -> set[str]:
        """Every program that was started."""
        return {json.loads(line)["argv"][0] for line in self.executions}

    def look(self) -> str:
        """Keep the arguments and environments of all processes now."""
        script = "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null"
        self.processes.append(self.guest.sh(script, check=False))
        return self.processes[-1]

    @contextmanager
    def recorded(self, directory: Path) -> Iterator[None]:
        """Record every program that starts in the guest."""
        path = directory / f"executions-{secrets.token_hex(4)}"
        pid = str(self.guest.leader().pid)
        follower = subprocess.Popen(
            [sys.executable, "-m", "scenarios.executions", pid, str(path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(settings.LAB_DIR.parent)},
        )
        try:
            assert follower.stdout is not None and follower.stdout.readline()
            yield
            assert follower.poll() is None, "the guest was not followed to the end"
        finally:
            follower.terminate()
            follower.wait()
        self.executions += path.read_text().splitlines()


def powered_on(lab: Lab, instance_id: str) -> Guest:
    """The guest as soon as its init runs, long before its agent does."""

    def running() -> bool:
        return any(g.instance_id == instance_id and g.running() for g in lab.guests())

    eventually(running, 60)
    return lab.guest(instance_id)
