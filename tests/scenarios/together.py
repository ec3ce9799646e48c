"""Several instances at the same time: boots and waits cost little beside others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, wait
from contextlib import AbstractContextManager, ExitStack, contextmanager
from threading import Thread
from typing import Any

from backups.steps import Owner, created
from lab.lab import Lab


def at_once(work: Callable[[Any], Any], things: Iterable[Any]) -> list[Any]:
    """Do `work` with all things at the same time; the results in their order.

    The threads are in the same network as the caller's. They are not joined:
    oslo.messaging leaves greenlets in those that have called, which never quite
    end then.
    """
    listed = list(things)
    futures: list[Future[Any]] = [Future() for _ in listed]

    def run(thing: Any, future: Future[Any]) -> None:
        try:
            future.set_result(work(thing))
        except BaseException as error:
            error.add_note(f"with {getattr(thing, 'datastore', thing)}")
            future.set_exception(error)

    for thing, future in zip(listed, futures):
        Thread(target=run, args=(thing, future), daemon=True).start()
    wait(futures)
    return [future.result() for future in futures]


@contextmanager
def entered(contexts: Iterable[AbstractContextManager[Any]]) -> Iterator[list[Any]]:
    """All contexts at the same time, from their begin to their end."""
    listed = list(contexts)
    with ExitStack() as stack:
        # Also those that never came to be: what was begun has to end.
        stack.callback(at_once, lambda one: one.__exit__(None, None, None), listed)
        yield at_once(lambda one: one.__enter__(), listed)


@contextmanager
def all_created(
    lab: Lab, datastores: Iterable[str], **options: Any
) -> Iterator[list[Owner]]:
    """An instance of each datastore, all of them deleted afterwards."""
    with entered(created(lab, each, **options) for each in datastores) as owners:
        yield owners
