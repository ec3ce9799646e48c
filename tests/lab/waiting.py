"""Waiting for what happens elsewhere, within a limit."""

from __future__ import annotations

import time
from collections.abc import Callable

# Between two looks at something that has no event to wait for.
PAUSE = 0.1


def eventually(check: Callable[[], object], timeout: float = 15.0) -> None:
    """Call `check` until it neither fails nor returns False.

    For effects of requests that are answered before the work is done (Trove
    only casts most changes). The last failure is raised when time is up.
    """
    deadline = time.monotonic() + timeout
    while True:
        try:
            if check() is not False:
                return
            failure: Exception = TimeoutError(f"not true within {timeout} s")
        except (AssertionError, RuntimeError) as error:
            failure = error
        if time.monotonic() > deadline:
            raise failure
        time.sleep(PAUSE)
