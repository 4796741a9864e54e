"""An exception that breaks in at a chosen bytecode, as KeyboardInterrupt does at some."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import enclu.host

HOST = enclu.host.__path__[0]


class Broken(BaseException):
    """What breaks in: like KeyboardInterrupt, no Exception."""


class Breaking:
    """Raises Broken before the n-th bytecode of the host's code that `call` executes, the first being 0."""

    def __init__(self, n: int, kind: type[BaseException] = Broken) -> None:
        self._left = n
        self._kind = kind
        self.broke = False
        self.where = ""

    def call(self, function: Callable[[], Any]) -> Any:
        sys.settrace(self._enter)
        try:
            return function()
        finally:
            sys.settrace(None)

    def _enter(self, frame: FrameType, event: str, argument: object) -> Any:
        if not frame.f_code.co_filename.startswith(HOST):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return self._opcode

    def _opcode(self, frame: FrameType, event: str, argument: object) -> Any:
        if event == "opcode":
            if self._left == 0:
                self.broke = True
                self.where = f"{frame.f_code.co_qualname}+{frame.f_lasti}"
                raise self._kind
            self._left -= 1
        return self._opcode


def every(function: Callable[[], Any], *, step: int = 1, first: int = 0) -> Iterator[tuple[str, Any]]:
    """Break into the function before each bytecode in turn (or each `step`-th), until it comes to its end.

    Yields where, and what came out: the exception that arrived, or the result.
    """
    n = first
    while True:
        breaking = Breaking(n)
        try:
            outcome = breaking.call(function)
        except BaseException as error:
            outcome = error
        if not breaking.broke:
            return
        yield breaking.where, outcome
        n += step


def sweep(load: Callable[[], enclu.Enclave], call: Callable[[enclu.Enclave], Any], *, step: int) -> tuple[int, int]:
    """Break into a call before each `step`-th bytecode; how often, and how many TCSes were lost.

    After each time the enclave answers what it is asked, or has lost a TCS and is loaded anew; no memory is left.
    """
    loaded = [load()]
    answer = call(loaded[-1])
    held, times, lost = loaded[-1].process.arena.held, 0, 0
    for where, outcome in every(lambda: call(loaded[-1]), step=step):
        enclave = loaded[-1]
        times += 1
        assert isinstance(outcome, Broken), (where, outcome)
        if enclave.lost:
            assert any("is lost" in note for note in getattr(outcome, "__notes__", ())), where
            lost += len(enclave.lost)
            enclave.unload()
            loaded.append(load())
        assert call(loaded[-1]) == answer, where
        assert enclave.process.arena.held == held, f"memory is left behind: {where}"
    loaded[-1].unload()
    return times, lost


@contextlib.contextmanager
def alarm(seconds: float, kind: type[BaseException] = KeyboardInterrupt) -> Iterator[None]:
    """The exception arrives after so many seconds, in whatever is being done."""

    def break_in(_signo: int, _frame: object) -> None:
        raise kind

    before = signal.signal(signal.SIGALRM, break_in)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
