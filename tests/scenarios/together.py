"""Several instances at the same time: boots and waits cost little beside others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

from backups.steps import Owner, created
from lab.lab import Lab


def at_once(work: Callable[[Any], Any], things: Iterable[Any]) -> list[Any]:
    """Do `work` with all things at the same time; the results in their order.

    The threads are in the same network as the caller's.
    """
    listed = list(things)
    with ThreadPoolExecutor(len(listed)) as pool:
        return list(pool.map(work, listed))


@contextmanager
def all_created(
    lab: Lab, datastores: Iterable[str], **options: Any
) -> Iterator[list[Owner]]:
    """An instance of each datastore, all of them deleted afterwards."""
    contexts = [created(lab, datastore, **options) for datastore in datastores]
    with ExitStack() as stack:
        # Also those that never came to be: what was begun has to end.
        stack.callback(at_once, lambda one: one.__exit__(None, None, None), contexts)
        yield at_once(lambda one: one.__enter__(), contexts)
