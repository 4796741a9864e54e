"""A call of an enclave that is loaded already, swept where the enclave stands.

with enclu.Machine() as machine, machine.process(stepping=True) as process:
    enclave = process.load("enclave.elf")
    verdicts = enclave.sweep(0, 41, where="window", host=["pf:handle,resume"])
    assert all(verdict.harmless for verdict in verdicts)
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from enclu.host.errors import ProcessDied
from enclu.sweep import points as places
from enclu.sweep.behaviour import Behaviour
from enclu.sweep.call import fresh, written
from enclu.sweep.outcome import Kind
from enclu.sweep.run import begun, some
from enclu.sweep.session import HANG, Session
from enclu.sweep.verdict import options

if TYPE_CHECKING:
    from enclu.host.enclave import Enclave
    from enclu.sweep.verdict import Verdict

HOST = "int:resume"
"""What the host does unless told."""


def sweep_ecall(
    enclave: Enclave, function: Any, args: Sequence[Any], named: Mapping[str, Any], **options: Any
) -> list[Verdict]:
    """`Enclave.sweep`: of one ECALL, whose arguments are as at first each time that it is made."""

    def make(enclave: Enclave) -> object:
        return enclave.ecall(function, *fresh(args), **fresh(named))

    return sweep_call(enclave, make, call=f"ecall({written(function, args, named)})", **options)


def sweep_call(
    enclave: Enclave, make: Callable[[Enclave], object], *, where: str = places.ALL,
    host: str | Iterable[str | Behaviour] = HOST, call: str = "the call", warm: int = 0, hang: float = HANG,
    rsp: int | str | None = None,
) -> list[Verdict]:  # fmt: skip
    """Try the behaviour of the host, or each of several, at these points of whatever `make` calls; a verdict for each.

    `make` is called with the enclave, some six times and once for each behaviour: it makes the same ECALL each time,
    with the same arguments, and OCALLs answer the same.  `warm` calls come before the first that counts; `rsp` is the
    host's at the first EENTER, as `Session` has it.  Afterwards the enclave is as it was when that one began; memory
    that host and enclave share, too.  Its checkpoints are kept, but for numbers from 1 << 63 on, which are the
    sweep's.  `call` is what verdicts name it.

    A host that is harmed is dead: the verdict of that behaviour is the last one, and not whole.  Raises ProcessDied if
    that comes of memory that is changed before the call, too; NoReference if
    the call does not return by itself; HostError where nothing can step: the enclave's process is to be one of
    `Machine.process(stepping=True)`.
    """
    wanted = [host] if isinstance(host, str) else host
    behaviours = [one if isinstance(one, Behaviour) else Behaviour.parse(one) for one in wanted]
    given = options(rsp=rsp, warm=warm, usual_warm=0, delivery=enclave.process.delivery)
    verdicts: list[Verdict] = []
    with contextlib.closing(Session(enclave, make, rsp=rsp, hang=hang)) as session:
        session.prepare(warm)
        points = places.chosen(where, session.rips, session.entries)
        for behaviour in behaviours:
            verdict = begun(str(enclave.image.path), call, behaviour, where, session, given)
            verdict.wanted = len(points)
            verdicts.append(verdict)
            changed = session.changed(behaviour)
            if changed is not None and changed.ended is Kind.HARMED:
                raise ProcessDied(f"{behaviour}: with the memory changed before it begins, the call ends its host: "
                                  f"{changed.note}")  # fmt: skip
            some(session, behaviour, points, changed, verdict)
            if not enclave.process.alive:
                break
    return verdicts
