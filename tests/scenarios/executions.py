"""Records every program that is started below a process.

`python -m scenarios.executions PID FILE` follows PID and all its descendants
with ptrace(2), stopping them at fork and exec only, and appends arguments and
environment of every program to FILE, one JSON object per line. Unlike looking
through /proc now and then it misses none, however short it lives. What is
followed goes on when this ends.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from pathlib import Path
from typing import TextIO

# <sys/ptrace.h>
CONT, SEIZE, LISTEN = 7, 0x4206, 0x4208
EVENT_EXEC, EVENT_STOP = 4, 128
# Follow fork, vfork and clone; report exec.
OPTIONS = 1 << 1 | 1 << 2 | 1 << 3 | 1 << EVENT_EXEC
# <bits/waitflags.h>: threads as well.
WALL = 0x40000000
STOPPING = (signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


def ptrace(request: int, pid: int, data: int = 0) -> None:
    """OSError unless the kernel did it."""
    if _libc.ptrace(request, pid, None, data) == -1:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def record(pid: int, output: TextIO) -> None:
    """Write down what `pid` has just become."""

    def strings(name: str) -> list[str]:
        content = Path(f"/proc/{pid}/{name}").read_bytes()
        return content.decode(errors="backslashreplace").split("\0")[:-1]

    entry = {"argv": strings("cmdline"), "environment": strings("environ")}
    output.write(json.dumps(entry) + "\n")
    output.flush()


def follow(output: TextIO) -> None:
    """Until nothing is left to follow."""
    while True:
        try:
            pid, status = os.waitpid(-1, WALL)
        except ChildProcessError:
            return
        if not os.WIFSTOPPED(status):
            continue
        event, signum = status >> 16, os.WSTOPSIG(status)
        try:
            if event == EVENT_EXEC:
                record(pid, output)
            if event == EVENT_STOP and signum in STOPPING:
                ptrace(LISTEN, pid)
            else:
                ptrace(CONT, pid, 0 if event else signum)
        except (ProcessLookupError, FileNotFoundError):
            continue  # killed meanwhile


def main() -> None:
    pid, path = int(sys.argv[1]), sys.argv[2]
    with open(path, "a") as output:
        ptrace(SEIZE, pid, OPTIONS)
        print("following", flush=True)
        follow(output)


if __name__ == "__main__":
    main()
