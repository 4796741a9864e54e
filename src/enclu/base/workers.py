"""Work beside the caller's: one thread for each kind of work, so that what is handed in is done in its order.

What Python has for that is loaded with the first worker: it takes longer than many programs, which need none, run.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, ParamSpec, Protocol, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future

P = ParamSpec("P")
T = TypeVar("T")


class Worker(Protocol):
    """Somebody who does work: a `concurrent.futures.Executor`."""

    def submit(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Hand in what is to be done."""


class _Caller:
    """Where no threads can be created, the caller does the work before it goes on."""

    def submit(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        from concurrent.futures import Future

        done: Future[T] = Future()
        try:
            done.set_result(work(*args, **kwargs))
        except Exception as error:
            done.set_exception(error)
        return done


@functools.cache
def worker(name: str) -> Worker:
    """The thread of this name.  Where it may run is not tied to where the caller is."""
    from concurrent.futures import ThreadPoolExecutor

    def anywhere() -> None:
        with contextlib.suppress(OSError):
            os.sched_setaffinity(0, range(os.cpu_count() or 1))

    pool = ThreadPoolExecutor(1, name, anywhere)
    try:
        pool.submit(int)
    except RuntimeError:  # "can't start new thread"
        return _Caller()
    return pool
