"""Progress lines: what is being done, for how long already."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Progress:
    """Prints one line per event, and a sign of life for long steps.

    Several steps may run at once (threads), so every line carries its step's
    name and the whole line is written in one call.
    """

    # How long a step may be silent before its latest detail is repeated.
    QUIET_SECONDS = 5.0

    def __init__(self, stream=None) -> None:
        self._stream = stream or sys.stderr
        self._start = time.monotonic()
        self._lock = threading.Lock()

    def say(self, message: str) -> None:
        """Print one line with the time since the start."""
        elapsed = time.monotonic() - self._start
        with self._lock:
            self._stream.write(f"[{elapsed:6.1f} s] {message}\n")
            self._stream.flush()

    @contextmanager
    def step(self, name: str) -> Iterator["Step"]:
        """Announce `name`, then its end with the time it took."""
        step = Step(self, name)
        self.say(f"{name} ...")
        ticker = threading.Thread(target=step.tick, daemon=True)
        ticker.start()
        begun = time.monotonic()
        try:
            yield step
        except BaseException:
            self.say(f"{name}: failed after {time.monotonic() - begun:.1f} s")
            raise
        else:
            self.say(f"{name}: done in {time.monotonic() - begun:.1f} s")
        finally:
            step.finished.set()
            ticker.join()


class Step:
    """One running step; `detail` is shown when the step takes long."""

    def __init__(self, progress: Progress, name: str) -> None:
        self.progress = progress
        self._name = name
        self.detail = ""
        self.finished = threading.Event()

    def tick(self) -> None:
        """Repeat the latest detail until the step has finished."""
        while not self.finished.wait(self.progress.QUIET_SECONDS):
            self.progress.say(f"{self._name}: {self.detail or 'working'}")
