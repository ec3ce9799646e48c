"""Running the programs that fetch and build, with their output as progress."""

from __future__ import annotations

import os
import subprocess
from collections import deque
from collections.abc import Mapping, Sequence

from lab.progress import Step


class BuildError(RuntimeError):
    """A program that builds a part of the lab failed; carries its last words."""


def run(
    argv: Sequence[str], step: Step, *, env: Mapping[str, str] | None = None
) -> None:
    """Run `argv`; its latest line is the step's detail, its tail the error."""
    tail: deque[str] = deque(maxlen=40)
    process = subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**os.environ, **(env or {})},
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip():
            tail.append(line.rstrip())
            step.detail = line.strip()[:100]
    if process.wait() != 0:
        raise BuildError(
            f"{' '.join(argv)} ended with status {process.returncode}:\n"
            + "\n".join(tail)
        )
