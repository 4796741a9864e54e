"""A sweep from its beginning to its verdict: here, by several workers, or on a cluster of others' machines.

Points are independent of each other.  So they go in contiguous slices to whoever is free; each worker has an enclave of
its own, steps through the undisturbed call once, and goes on from point to point.  Whose worker is lost, begins anew.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from enclu.host.errors import HostError, ProcessDied
from enclu.sweep import points as places
from enclu.sweep.behaviour import Behaviour
from enclu.sweep.outcome import Kind, Point, Run
from enclu.sweep.session import Session
from enclu.sweep.subject import Subject
from enclu.sweep.verdict import Verdict

SLICES = 4
"""For each worker: none is to wait long for the last."""
LEAST = 50
"""Points of a slice, if there are as many for each worker: each begins with an enclave that is loaded."""
ATTEMPTS = 3
"""How often a slice is tried whose worker is lost."""
PATIENCE = 5.0
"""Seconds that workers are given to stop."""
Told = Callable[[int, int], object]
"""Points that have been tried, and that there are."""


class LostWorkers(HostError):
    """Nobody is left to do the rest."""


def sweep(
    subject: Subject, behaviour: Behaviour, where: str = places.ALL, *, slice_of: tuple[int, int] = (1, 1),
    told: Told = lambda done, wanted: None, trace: str | None = None, sink: Callable[[Verdict], object] | None = None,
) -> Verdict:  # fmt: skip
    """Try it at these points, or at one of several slices of them, counted from 1.  Raises HostError.

    `sink` gets the verdict before it is filled: what there is of it if somebody breaks in.
    """
    verdict: Verdict | None = None
    left: list[int] | None = None
    changed: Run | None = None
    while left is None or left:
        with subject.session(trace) as session:
            if verdict is None or left is None:
                verdict = begun(subject.image, subject.call, behaviour, where, session, subject.options)
                left = _slice(places.chosen(where, session.rips, session.entries), slice_of)
                verdict.wanted, verdict.parts, verdict.count = len(left), slice_of[:1], slice_of[1]
                if sink is not None:
                    sink(verdict)
            if changed is None or changed.ended is not Kind.HARMED:
                changed = session.changed(behaviour)
                if changed is not None and changed.ended is Kind.HARMED:
                    continue  # this session's host is dead; the next does without
            left = some(session, behaviour, left, changed, verdict, told)
    return verdict  # type: ignore[return-value]


def begun(image: str, call: str, behaviour: Behaviour, where: str, session: Session, options: str) -> Verdict:
    """Nothing has been tried."""
    return Verdict(
        image, call, str(behaviour), behaviour.causable, session.rips, described(session.reference),
        session.unlike, session.drawn, session.longer, where, options=options,
    )  # fmt: skip


def described(run: Run) -> str:
    """What a call returns that nobody disturbs."""
    return f"result {run.shown}, {len(run.ocalls)} OCALLs"


def _slice(points: list[int], slice_of: tuple[int, int]) -> list[int]:
    number, count = slice_of
    parts = places.sliced(points, count)
    return parts[number - 1] if number <= len(parts) else []


def some(
    session: Session, behaviour: Behaviour, points: list[int], changed: Run | None, verdict: Verdict,
    told: Told = lambda done, wanted: None,
) -> list[int]:  # fmt: skip
    """Try them until none is left, or the host is dead, which is an outcome, too; those that are left."""

    def tell(point: Point) -> None:
        verdict.add(point)
        told(len(verdict.points), verdict.wanted)

    try:
        session.sweep(behaviour, points, tell, changed)
    except ProcessDied:
        left = [number for number in points if number not in verdict.points]
        if len(left) == len(points):
            raise
        return left
    left = [number for number in points if number not in verdict.points]
    if left:  # a call that ends earlier than the first time has no such instructions
        verdict.unlike = verdict.unlike or f"the call ended before instruction {left[0]}, and had not the first time"
        verdict.wanted -= len(left)
    return []


# Several.


class Futures(Protocol):
    """Who has work done elsewhere: an executor of processes, or a client of a cluster."""

    def submit(self, function: Callable[..., Verdict], *arguments: Any) -> Any: ...

    def stopped(self, futures: Sequence[Any]) -> Iterator[Verdict]:
        """Have the work ended as it is, and give what there is of it."""
        ...


@dataclass
class Workers:
    """Do a sweep by those of `futures`, as many as `count`."""

    futures: Futures
    count: int
    as_completed: Callable[[Sequence[Any]], Iterator[Any]]

    def sweep(
        self, subject: Subject, behaviour: Behaviour, where: str, *, told: Told = lambda done, wanted: None,
        sink: Callable[[Verdict], object] | None = None, slice_of: tuple[int, int] = (1, 1),
    ) -> Verdict:  # fmt: skip
        """As the function.  Raises LostWorkers, HostError."""
        with subject.session() as session:
            verdict = begun(subject.image, subject.call, behaviour, where, session, subject.options)
            points = _slice(places.chosen(where, session.rips, session.entries), slice_of)
        verdict.wanted, verdict.parts, verdict.count = len(points), slice_of[:1], slice_of[1]
        if sink is not None:
            sink(verdict)
        slices = places.sliced(points, self._parts(len(points))) if points else []
        for _ in range(ATTEMPTS):
            slices = self._round(subject, behaviour, slices, verdict, told)
            if not slices:
                return verdict
        raise LostWorkers(f"{len(slices)} slices were lost {ATTEMPTS} times, with who worked on them")

    def _parts(self, points: int) -> int:
        return max(self.count, min(self.count * SLICES, points // LEAST))

    def _round(
        self, subject: Subject, behaviour: Behaviour, slices: list[list[int]], verdict: Verdict, told: Told
    ) -> list[list[int]]:  # fmt: skip
        """Have all of them done; those that were lost."""
        waiting = {self.futures.submit(job, subject, str(behaviour), part): part for part in slices}
        try:
            return self._collected(waiting, verdict, told)
        except KeyboardInterrupt:
            for done in self.futures.stopped(list(waiting)):
                verdict.take(done)
            raise

    def _collected(self, waiting: dict[Any, list[int]], verdict: Verdict, told: Told) -> list[list[int]]:
        lost: list[list[int]] = []
        for future in self.as_completed(list(waiting)):
            try:
                done = future.result()
            except HostError:
                raise
            except Exception as error:
                if not _is_loss(error):
                    raise
                lost.append(waiting[future])
                continue
            verdict.take(done)
            verdict.wanted += done.wanted - len(waiting[future])  # fewer, if the call has ended earlier there
            told(len(verdict.points), verdict.wanted)
        return lost


def job(subject: Subject, behaviour: str, points: list[int]) -> Verdict:
    """What one worker does: a slice, or what there is of it if somebody breaks in."""
    where = ",".join(f"{first}:{last + 1}" for first, last in places.runs(points))
    begun: list[Verdict] = []
    try:
        with _interruptible_once():
            return sweep(subject, Behaviour.parse(behaviour), where, sink=begun.append)
    except KeyboardInterrupt:
        if not begun:
            raise HostError("stopped before it had begun") from None
        return begun[0]


@contextlib.contextmanager
def _interruptible_once() -> Iterator[None]:
    """SIGINT is KeyboardInterrupt meanwhile, where a process is asked to stop by it; but for the first, none counts."""

    def interrupt(signo: int, frame: object) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # one of Dask's, who asks nobody to stop
        yield
        return
    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _is_loss(error: Exception) -> bool:
    """A worker is gone, rather than a mistake in what it does: of either library, by name, for one is an extra."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names & {"BrokenProcessPool", "KilledWorker", "CommClosedError", "CancelledError"})


class LocalWorkers:
    """So many processes here.  A context manager."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __enter__(self) -> Workers:
        self._pool = _Pool(self._count)
        return Workers(self._pool, self._count, concurrent.futures.as_completed)

    def __exit__(self, *error: object) -> None:
        self._pool.close()


class _Pool:
    """An executor that is made anew when one of its processes is killed, by which the whole of it is lost."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._executor = self._made()

    def _made(self) -> concurrent.futures.ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")  # a forked child has no business with its parent's enclaves
        return concurrent.futures.ProcessPoolExecutor(self._count, context, _leave_interrupts)

    def submit(self, function: Callable[..., Verdict], *arguments: Any) -> concurrent.futures.Future[Verdict]:
        try:
            return self._executor.submit(function, *arguments)
        except concurrent.futures.process.BrokenProcessPool:
            self._executor.shutdown(wait=False, cancel_futures=True)
            self._executor = self._made()
            return self._executor.submit(function, *arguments)

    def stopped(self, futures: Sequence[concurrent.futures.Future[Verdict]]) -> Iterator[Verdict]:
        for future in futures:
            future.cancel()
        for pid in list(self._executor._processes or ()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGINT)  # at a terminal it has had one
        for future in concurrent.futures.wait(futures, PATIENCE).done:
            if not future.cancelled() and future.exception() is None:
                yield future.result()

    def close(self) -> None:
        for process in list((self._executor._processes or {}).values()):
            process.kill()
        self._executor.shutdown(wait=True, cancel_futures=True)


def _leave_interrupts() -> None:
    """Ctrl-C at a terminal is for who has started the workers, but while they have work that they can stop."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class Cluster:
    """The workers of a Dask cluster, by the address of its scheduler.  A context manager.

    Images are read where the workers are, so paths must lead to the same files there.  Raises HostError.
    """

    def __init__(self, address: str) -> None:
        try:
            from distributed import Client, as_completed
            from distributed.comm.addressing import get_address_host_port
        except ImportError:
            raise HostError("--dask needs dask.distributed: pip install 'enclu[dask]'") from None
        try:
            made: Any = Client
            get_address_host_port(address)  # a client that fails to understand it is not got rid of silently
            self._client: Any = made(address, timeout=10, set_as_default=False)
        except (OSError, TimeoutError, ValueError) as error:
            raise HostError(f"no scheduler of Dask answers at {address}: {error}") from None
        self._as_completed: Any = functools.partial(as_completed, loop=self._client.loop)

    def __enter__(self) -> Workers:
        try:
            count = sum(self._client.nthreads().values())
            if not count:
                raise HostError("the cluster has no workers")
        except BaseException:
            self._client.close()
            raise
        return Workers(_Submitted(self._client), count, self._as_completed)

    def __exit__(self, *error: object) -> None:
        self._client.close()


class _Submitted:
    """A client of Dask's, as `Futures`: no two slices are the same work, whatever their arguments are."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def submit(self, function: Callable[..., Verdict], *arguments: Any) -> Any:
        return self._client.submit(function, *arguments, pure=False, retries=ATTEMPTS)

    def stopped(self, futures: Sequence[Any]) -> Iterator[Verdict]:
        """Whole slices: nobody can break into the others."""
        for future in futures:
            if future.status == "finished":
                yield future.result()
            else:
                future.cancel()
