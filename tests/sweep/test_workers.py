"""Several workers, here and on a cluster: the same verdict, whoever is lost."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import dask
import pytest
from distributed import LocalCluster

import enclu
from enclu.sweep import run
from enclu.sweep.behaviour import Behaviour
from enclu.sweep.run import Cluster, LocalWorkers, LostWorkers, Workers, job, sweep
from enclu.sweep.subject import Subject
from enclu.sweep.verdict import Verdict
from tests.support.runs import enclu as command
from tests.sweep.watched import EDL
from tests.sweep.watched import proof as proof

INTERRUPT = Behaviour.parse("int:resume")
HANDLED = Behaviour.parse("pf:handle,resume")
WHERE = "0:24,200:216"
Arm = Callable[[Verdict], object]


@pytest.fixture
def subject(proof: Callable[..., Subject], deadly: Path) -> Subject:
    return proof("ask(7)", ocalls=deadly.stem)


@pytest.fixture
def deadly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An OCALL that kills the process that serves it, once, in the middle of its work, if it is armed."""
    module = tmp_path / "ocalls_that_kill.py"
    module.write_text(
        textwrap.dedent(f"""
        import os, signal
        calls = 0

        def answer(key):
            global calls
            calls += 1
            if calls > 8:
                try:
                    os.unlink({str(tmp_path / "armed")!r})
                except FileNotFoundError:
                    return 5
                os.kill(os.getpid(), signal.SIGKILL)
            return 5
        """)
    )
    monkeypatch.syspath_prepend(tmp_path)
    return module


@pytest.fixture
def arm(deadly: Path) -> Arm:
    return lambda verdict: deadly.with_name("armed").touch()


def two_workers(scratch: Path) -> Any:
    """A cluster of them, each a process."""
    cluster: Any = LocalCluster
    with dask.config.set({"temporary-directory": str(scratch)}):
        return cluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of its scheduler."""
    with two_workers(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster.scheduler_address


def text(verdict: Verdict) -> str:
    return json.dumps(verdict.as_dict())


@pytest.mark.parametrize("count", [2, 8])
def test_several_workers_come_to_the_same_verdict(subject: Subject, count: int) -> None:
    with LocalWorkers(count) as workers:
        assert text(workers.sweep(subject, HANDLED, WHERE)) == text(sweep(subject, HANDLED, WHERE))


def test_a_worker_that_is_killed_in_the_middle(subject: Subject, arm: Arm, deadly: Path) -> None:
    with LocalWorkers(2) as workers:
        verdict = workers.sweep(subject, INTERRUPT, WHERE, sink=arm)
    assert not deadly.with_name("armed").exists()
    assert text(verdict) == text(sweep(subject, INTERRUPT, WHERE))


@pytest.mark.timeout(300)
def test_a_cluster_comes_to_the_same_verdict(proof: Callable[..., Subject], cluster: str) -> None:
    """By the command, which prints as much as without."""
    image = proof("compute(1, 2)").image
    words: list[str | Path] = [
        "sweep",
        image,
        "compute(1, 2)",
        "--edl",
        EDL,
        "--where",
        "0:40",
        "--host",
        "pf:handle,resume",
        "--json",
    ]
    alone, shared = command(*words), command(*words, "--dask", cluster)
    assert (alone.returncode, shared.returncode, shared.stdout) == (0, 0, alone.stdout), shared.stderr
    assert json.loads(alone.stdout)["points"]


@pytest.mark.timeout(300)
def test_a_worker_of_a_cluster_that_is_killed_in_the_middle(
    subject: Subject, arm: Arm, deadly: Path, tmp_path: Path
) -> None:
    with two_workers(tmp_path) as cluster, Cluster(cluster.scheduler_address) as workers:
        verdict = workers.sweep(subject, INTERRUPT, WHERE, sink=arm)
    assert not deadly.with_name("armed").exists()
    assert text(verdict) == text(sweep(subject, INTERRUPT, WHERE))


@pytest.mark.parametrize("address", ["nonsense", "telepathy://x:1"])
def test_an_address_that_is_none(address: str) -> None:
    with pytest.raises(enclu.HostError, match=f"no scheduler of Dask answers at {address}"):
        Cluster(address)


class Future:
    def __init__(self, work: Callable[[], Verdict]) -> None:
        self.result = work


class BrokenProcessPool(Exception):
    """As that of concurrent.futures is called."""


class Fickle:
    """Workers that are lost so many times, and then work."""

    def __init__(self, lost: int) -> None:
        self.lost = lost
        self.slices: list[list[int]] = []

    def submit(self, function: Callable[..., Verdict], *arguments: Any) -> Future:
        def work() -> Verdict:
            if self.lost:
                self.lost -= 1
                raise BrokenProcessPool
            self.slices.append(arguments[2])
            return function(*arguments)

        return Future(work)

    def stopped(self, futures: Sequence[Any]) -> Iterator[Verdict]:
        return iter(())


def fickle(lost: int) -> Workers:
    return Workers(Fickle(lost), 1, lambda futures: iter(futures))


def test_a_slice_is_tried_again_until_nobody_is_left(proof: Callable[..., Subject]) -> None:
    subject = proof("compute(1, 2)")
    assert len(fickle(2).sweep(subject, INTERRUPT, "3:5").points) == 2
    with pytest.raises(LostWorkers, match="1 slices were lost 3 times, with who worked on them"):
        fickle(3).sweep(subject, INTERRUPT, "3:5")


def test_a_call_that_ends_earlier_for_a_worker_has_fewer_points(
    proof: Callable[..., Subject], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `some` says it of one."""

    def early(subject: Subject, behaviour: str, points: list[int]) -> Verdict:
        verdict = job(subject, behaviour, points)
        del verdict.points[points[-1]]
        verdict.unlike, verdict.wanted = "the call ended before", verdict.wanted - 1
        return verdict

    monkeypatch.setattr(run, "job", early)
    verdict = fickle(0).sweep(proof("compute(1, 2)"), INTERRUPT, "3:6")
    assert (verdict.wanted, len(verdict.points), verdict.complete) == (2, 2, True)


def test_a_cluster_without_workers_is_left() -> None:
    closed: list[bool] = []

    class Client:
        def nthreads(self) -> dict[str, int]:
            return {}

        def close(self) -> None:
            closed.append(True)

    cluster = Cluster.__new__(Cluster)
    cluster._client = Client()
    with pytest.raises(enclu.HostError, match="the cluster has no workers"), cluster:
        pass
    assert closed == [True]


def test_a_mistake_is_no_loss(proof: Callable[..., Subject]) -> None:
    workers = fickle(0)

    def wrong(*arguments: Any) -> Future:
        def work() -> Verdict:
            raise ZeroDivisionError

        return Future(work)

    workers.futures.submit = wrong  # type: ignore[method-assign, assignment]
    with pytest.raises(ZeroDivisionError):
        workers.sweep(proof("compute(1, 2)"), INTERRUPT, "3:5")


def test_slices_are_large_enough_to_be_worth_a_start() -> None:
    assert [Workers(Fickle(0), 4, iter)._parts(points) for points in (3, 100, 400, 10_000)] == [4, 4, 8, 16]
