"""An enclave's OCALL has the quoting enclave make a quote, whose OCALL has the PCE certify it, and back.

All of it on one thread, with one runtime, and an exception at each level.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

import enclu
from enclu.host.attestation import architectural
from enclu.host.attestation.architectural import LAYOUT
from enclu.host.build import Layout
from tests.host.attestation.test_local import MAKE_REPORT, QUOTE_BY_OCALL
from tests.host.conftest import DESIGNS, RESUMING

READ, READ_WRITE_EXECUTE = 1, 7
PAGE_FAULT, UNDEFINED = 14, 6
ON_DEMAND = Layout(LAYOUT.threads, LAYOUT.stack_pages, 0, 64, LAYOUT.attributes)
"""QE and PCE without a page of heap: they raise #PF when they allocate, and accept the page in their handlers."""


@dataclass
class Flow:
    """One process, its enclaves, and what has been told of exceptions: (level, enclave, vector)."""

    process: enclu.Process
    app: enclu.Enclave = field(init=False)
    platform: enclu.attestation.Platform = field(init=False)
    told: list[tuple[int, str, int]] = field(default_factory=list)
    hidden: set[int] = field(default_factory=set)
    """Text pages that the host has taken away, and gives back when it is told of the #PF."""

    @classmethod
    def of(cls, process: enclu.Process, app: Path, layout: Layout | None = None) -> Flow:
        flow = cls(process)
        flow.app = process.load(app, ocalls=[flow.quote], on_exception=flow.on_exception)
        images = {name: architectural.image(name, layout or LAYOUT) for name in ("qe", "pce")}
        flow.platform = enclu.attestation.Platform(process, **images, on_exception=flow.on_exception)
        return flow

    def name_of(self, enclave: enclu.Enclave) -> str:
        return "app" if enclave is self.app else "qe" if enclave is self.platform.qe else "pce"

    def on_exception(self, exception: enclu.EnclaveException) -> enclu.Action:
        depth = len(self.process.thread().entries)
        self.told.append((depth, self.name_of(exception.enclave), exception.vector))
        page = exception.address & ~0xFFF
        if page in self.hidden:
            self.hidden.remove(page)
            self.process.syscall("mprotect", page, 4096, 5)
            return enclu.Action.RESUME
        return enclu.Action.HANDLE

    def hide_entry(self, enclave: enclu.Enclave) -> None:
        """Take the page of the enclave's entry away."""
        text = next(r for r in enclave.image.regions() if r.flags & 4)
        page = enclave.base + text.offset
        self.process.syscall("mprotect", page, 4096, 0)
        self.hidden.add(page)

    def quote(self, at: int) -> int:
        """The OCALL of the application's enclave: it answers at once with where the quote is."""
        report = enclu.attestation.report(self.app, self.platform.target_info(), b"from an OCALL", by=MAKE_REPORT)
        made = self.platform.quote(report)
        self.process.memory.write(at, len(made).to_bytes(8, "little") + made)
        return len(made)

    def run(self) -> bytes:
        with self.process.memory.temporary(1 << 14) as at:
            size = self.app.ecall(QUOTE_BY_OCALL, at)
            return self.process.memory.read(at + 8, size)


def believed(flow: Flow, made: bytes) -> None:
    machine = flow.process.machine
    enclu.attestation.verify(
        made, root=enclu.attestation.root(machine), report_data=b"from an OCALL",
        mrenclave=enclu.attestation.target_info(flow.app)[:32],
    ).require()  # fmt: skip


@pytest.mark.parametrize("design", RESUMING)
def test_a_quote_from_an_ocall_with_an_exception_at_each_level(machine: enclu.Machine, app: Path, design: str) -> None:
    """In-enclave handlers repair #UD around the OCALL and #PF of QE and PCE, the host a #PF at each entry of theirs."""
    flow = Flow.of(machine.process(design), app, ON_DEMAND)
    flow.hide_entry(flow.platform.qe)
    flow.hide_entry(flow.platform.pce)
    made = flow.run()
    believed(flow, made)
    assert not flow.hidden
    levels = {(depth, name, vector) for depth, name, vector in flow.told}
    assert {(1, "app", UNDEFINED), (2, "qe", PAGE_FAULT), (3, "pce", PAGE_FAULT)} <= levels
    assert [told for told in flow.told if told[1] == "app"] == [(1, "app", UNDEFINED)] * 2
    assert flow.told[0][1] == flow.told[-1][1] == "app"
    for name, depth in (("qe", 2), ("pce", 3)):
        here = [told for told in flow.told if told[1] == name]
        assert len(here) >= 2, "the host's, and at least one of the heap"
        assert {told[0] for told in here} == {depth}


@pytest.mark.parametrize("design", DESIGNS)
def test_a_quote_without_exceptions_is_made_under_every_design(machine: enclu.Machine, app: Path, design: str) -> None:
    enclave = machine.process(design).load(app)
    made = enclu.attestation.quote(enclave, b"plain", by=MAKE_REPORT)
    enclu.attestation.verify(made, root=enclu.attestation.root(machine), report_data=b"plain").require()


def test_an_exception_that_nobody_repairs_in_the_pce_ends_all_three(machine: enclu.Machine, app: Path) -> None:
    flow = Flow.of(machine.process(), app)
    flow.hide_entry(flow.platform.pce)
    flow.hidden.clear()  # the host does not know of it
    with pytest.raises(enclu.EnclaveException) as raised:
        flow.run()
    assert flow.name_of(raised.value.enclave) == "pce"
    flow.hidden.add(raised.value.address & ~0xFFF)
    believed(flow, flow.run())


def test_where_exceptions_cannot_be_resumed_from_it_is_said(machine: enclu.Machine, app: Path) -> None:
    flow = Flow.of(machine.process("vdso-2018"), app)
    with pytest.raises(enclu.HostError, match="`vdso-2018` has no way to resume"):
        flow.run()
