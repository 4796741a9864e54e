"""Every ECALL that somebody makes, swept before it is made: what the pytest mark `aex_everywhere` does.

Such a call is swept where it is about to begin, and the enclave is as it was before when it is made.  It has to be
the outermost on its thread, of an enclave in a process that can step; one that an OCALL makes belongs to its ECALL.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self
from unittest import mock

from enclu.host.enclave import Enclave
from enclu.host.errors import HostError, ProcessDied
from enclu.host.images import open_image
from enclu.sweep import report
from enclu.sweep.call import EcallText, written
from enclu.sweep.loaded import HOST, sweep_ecall
from enclu.sweep.points import ALL
from enclu.sweep.verdict import HARMLESS
from enclu.sweep.watchers import NoReference, NoSuchMemory

if TYPE_CHECKING:
    from enclu.sweep.outcome import Kind
    from enclu.sweep.verdict import Verdict

NO_EDL = ("enclu", "registers")
"""Conventions whose calls need no interface."""


@dataclass(frozen=True)
class Wanted:
    """What is to be tried."""

    where: str = ALL
    host: tuple[str, ...] = (HOST,)
    only: int = 0
    """Which ECALL alone, counted from 1; 0: all of them."""


@dataclass
class Swept:
    """One ECALL."""

    number: int
    text: str
    """As it was made."""
    command: str
    """`enclu sweep` for this call; nothing if it cannot be made there."""
    verdicts: list[Verdict] = field(default_factory=list)

    killed: str = ""
    """What has ended the host before anything could be tried."""

    @property
    def harmless(self) -> bool:
        return not self.killed and all(verdict.harmless for verdict in self.verdicts)

    def lines(self, replay: Callable[[str], str]) -> Iterator[str]:
        """What was found, for people, and how to have each kind of it again: `replay` makes a command of
        CALL:N:EVENT:ACTIONS."""
        for verdict in self.verdicts:
            if verdict.harmless:
                continue
            yield from report.lines(verdict, report.where_of(verdict.image))
            first: dict[Kind, int] = {}
            for number in sorted(verdict.points):
                first.setdefault(verdict.points[number].kind, number)
            for kind, number in first.items():
                if kind in HARMLESS:
                    continue
                yield f"replay ({kind}): {replay(f'{self.number}:{number}:{verdict.behaviour}')}"
                if self.command:
                    yield f"    or: {self.command} --replay {number}:{verdict.behaviour}"
                else:
                    yield (f'    or: enclave.sweep({self.text}, where="{number}", host=["{verdict.behaviour}"])')
            yield ""
        if self.killed:
            yield self.killed


class Everywhere:
    """A context manager, in which every ECALL is swept."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self.swept: list[Swept] = []
        self.counted = 0
        """ECALLs that could be swept."""
        self._seen: set[int] = set()
        """Enclaves that have had one."""
        self._plain = Enclave.ecall
        self._patch = mock.patch.object(Enclave, "ecall", self._replacement())

    def __enter__(self) -> Self:
        self._patch.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._patch.stop()

    @property
    def found(self) -> list[Swept]:
        """Calls that are not safe from their host."""
        return [swept for swept in self.swept if not swept.harmless]

    def _replacement(self) -> Callable[..., Any]:
        everywhere, plain = self, self._plain

        def ecall(enclave: Enclave, function: Any, *args: Any, timeout: float | None = None, **named: Any) -> Any:
            """As Enclave.ecall, and swept before."""
            if _outermost(enclave):
                everywhere._sweep(enclave, function, args, named)
            return plain(enclave, function, *args, timeout=timeout, **named)

        return ecall

    def _sweep(self, enclave: Enclave, function: Any, args: Sequence[Any], named: dict[str, Any]) -> None:
        self.counted += 1
        first = id(enclave) not in self._seen
        self._seen.add(id(enclave))
        if self.wanted.only not in (0, self.counted):
            return
        command = _command(enclave, function, args, named) if first else ""
        swept = Swept(self.counted, written(function, args, named), command)

        for behaviour in self.wanted.host:
            try:
                swept.verdicts += sweep_ecall(enclave, function, args, named, where=self.wanted.where, host=[behaviour])
            except NoReference:
                return  # then it does not return when it is made, either
            except NoSuchMemory:
                continue  # other ECALLs of the test share more with their host
            except ProcessDied as error:
                swept.killed = str(error)
            if not enclave.process.alive:
                break
        if swept.verdicts or swept.killed:
            self.swept.append(swept)


def _outermost(enclave: Enclave) -> bool:
    process = enclave.process
    if not (enclave.loaded and process.alive and process.stepping and enclave.watcher is None):
        return False
    return not process.thread().calls


def _command(enclave: Enclave, function: Any, args: Sequence[Any], named: dict[str, Any]) -> str:
    """Of the first ECALL of an enclave, which is loaded by that command as it was here."""
    from enclu.host import convention

    kinds = {name: convention.named(name) for name in NO_EDL}
    name = next((name for name, kind in kinds.items() if type(enclave.convention) is kind), None)
    if name is None or named or enclave.ocalls or enclave.on_exception is not None:
        return ""
    text = f"{function}({', '.join(map(repr, args))})" if args else str(function)
    try:
        EcallText(text)
        if open_image(enclave.image.path).sigstruct != enclave.image.sigstruct:
            return ""
    except HostError:
        return ""
    options = ["--convention", name, "--delivery", enclave.process.delivery, "--warm", "0"]
    options += ["--debug"] if enclave.debug else []
    return shlex.join(["enclu", "sweep", str(enclave.image.path), text, *options])
