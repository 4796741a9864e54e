"""Any sequence of ENCLS leaves keeps the EPCM's invariants (SDM 3D section 35.19 and each leaf's operation)."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from enclu.sgx import encls
from enclu.sgx.enclave_mode import EnclaveMode
from enclu.sgx.epc import EPCPage, PageType
from enclu.sgx.exceptions import Fault
from enclu.sgx.structs import SECINFO, ErrorCode
from tests.support.bare_enclave import BASE, SIZE, created, entered, fresh, pretend_initialised, tcs, version_array

COUNT = 6
which = st.integers(0, COUNT - 1)
OK = ErrorCode.SUCCESS


class Epcm(RuleBasedStateMachine):
    """Pages of one enclave, each with a home address; `content` is the model of what its memory must hold."""

    @initialize()
    def create(self) -> None:
        self.machine, self.secs = created()
        self.va = version_array()
        self.pages: list[EPCPage] = [fresh() for _ in range(COUNT)]
        self.content: dict[int, bytes] = {}
        self.evicted: dict[int, tuple[bytes, bytes]] = {}
        self.stale: list[tuple[int, tuple[bytes, bytes]]] = []
        self.inside: list[tuple[EnclaveMode, int]] = []
        """Processors in the enclave, with the epochs of their entries."""
        self.initialised = False

    def address(self, i: int) -> int:
        return BASE + i * 4096

    def attempt(self, i: int, may: bool, leaf: Callable[..., int | None], *arguments: object) -> int | None:
        """Run a leaf: it must succeed exactly if it `may`; its code, None after a fault, which changes nothing."""
        before = self.snapshot(i)
        try:
            code = leaf(*arguments)
        except Fault:
            assert not may, "a leaf faulted that the SDM allows"
            assert self.snapshot(i) == before
            return None
        assert (not code) == may
        if code and code != ErrorCode.SGX_BLKSTATE:
            assert self.snapshot(i) == before
        return int(code or 0)

    def snapshot(self, i: int) -> tuple[object, ...]:
        p = self.pages[i]
        return (
            p.valid, p.pt, p.rwx, p.secs, p.enclaveaddress, p.blocked, p.pending, p.modified, p.pr, p.epoch,
            self.secs.children, self.secs.epoch, bytes(self.va.data),
        )  # fmt: skip

    def free(self, i: int) -> bool:
        return not self.pages[i].valid and i not in self.evicted

    @rule(i=which, flags=st.sampled_from([0x201, 0x203, 0x205, 0x207, 0x202, 0x100, 0x107, 0x400]))
    def eadd(self, i: int, flags: int) -> None:
        if i in self.evicted:
            return
        content = tcs() if flags >> 8 == 1 else bytes([i + 1]) * 4096
        may = self.free(i) and not self.initialised and flags not in (0x202, 0x400)
        secinfo = SECINFO.pack(FLAGS=flags)
        if self.attempt(i, may, encls.eadd, self.secs, self.pages[i], self.address(i), secinfo, content) == OK:
            self.content[i] = content
            assert self.pages[i].rwx == (0 if flags >> 8 == 1 else flags & 7)

    @rule()
    def einit(self) -> None:
        self.initialised = True
        pretend_initialised(self.secs)

    @rule(i=which)
    def eaug(self, i: int) -> None:
        if i in self.evicted:
            return
        may = self.free(i) and self.initialised
        if self.attempt(i, may, encls.eaug, self.secs, self.pages[i], self.address(i)) == OK:
            self.content[i] = bytes(4096)
            assert self.pages[i].pending and self.pages[i].rwx == 3

    @rule(i=which, rwx=st.integers(0, 7))
    def emodpr(self, i: int, rwx: int) -> None:
        p = self.pages[i]
        may = (
            p.valid and self.initialised and p.pt == PageType.REG and rwx & 3 != 2 and not (p.pending or p.modified)
        )  # fmt: skip
        before = p.rwx
        if self.attempt(i, may, encls.emodpr, p, rwx) == OK:
            assert p.pr and p.rwx == before & rwx

    @rule(i=which, pt=st.sampled_from(list(PageType)))
    def emodt(self, i: int, pt: PageType) -> None:
        p = self.pages[i]
        changes = {(PageType.REG, PageType.TCS), (PageType.REG, PageType.TRIM), (PageType.TCS, PageType.TRIM)}
        may = p.valid and self.initialised and (p.pt, pt) in changes and not (p.pending or p.modified)
        if self.attempt(i, may, encls.emodt, p, pt) == OK:
            assert p.modified and p.pt == pt and p.rwx == 0

    @rule(i=which)
    def accept(self, i: int) -> None:
        """What EACCEPT does once tracking is complete."""
        p = self.pages[i]
        if p.valid and self.secs.tracked and (p.pending or p.epoch < self.secs.epoch):
            p.pending = p.modified = p.pr = False

    @rule(i=which)
    def eremove(self, i: int) -> None:
        p = self.pages[i]
        trimmed = p.pt == PageType.TRIM and not p.modified
        may = not p.valid or trimmed or not self.secs.inside
        if self.attempt(i, may, encls.eremove, p) == OK and i not in self.evicted:
            self.content.pop(i, None)

    @rule()
    def remove_secs(self) -> None:
        if self.secs.children:
            assert encls.eremove(self.secs.page) == ErrorCode.SGX_CHILD_PRESENT

    @rule(i=which)
    def eblock(self, i: int) -> None:
        p = self.pages[i]
        self.attempt(i, p.valid and not p.blocked, encls.eblock, p)

    @rule()
    def etrack(self) -> None:
        epoch = self.secs.epoch
        complete = all(entry == epoch for _, entry in self.inside)
        assert encls.etrack(self.secs) == (OK if complete else ErrorCode.SGX_PREV_TRK_INCMPL)
        assert self.secs.epoch == epoch + complete

    @rule()
    def enter(self) -> None:
        if self.initialised and len(self.inside) < 3:
            self.inside.append((entered(self.machine, self.secs), self.secs.epoch))

    @rule(n=st.integers(0, 2))
    def leave(self, n: int) -> None:
        if n < len(self.inside):
            self.inside.pop(n)[0].leave()

    @rule(i=which)
    def ewb(self, i: int) -> None:
        p = self.pages[i]
        if i in self.evicted:
            return
        tracked = p.epoch < self.secs.epoch and all(entry >= self.secs.epoch for _, entry in self.inside)
        result: list[tuple[int, bytes, bytes]] = []

        def leaf() -> int:
            result.append(encls.ewb(self.machine, p, self.va, i))
            return result[0][0]

        if self.attempt(i, p.valid and p.blocked and tracked, leaf) == OK:
            self.evicted[i] = result[0][1:]

    @rule(i=which)
    def eldu(self, i: int) -> None:
        if i not in self.evicted:
            return
        p = self.pages[i]
        arguments = (self.machine, p, self.va, i, *self.evicted[i], self.address(i), self.secs)
        if self.attempt(i, True, encls.eldu, *arguments) == OK:
            self.stale.append((i, self.evicted.pop(i)))
            assert not p.blocked and p.enclaveaddress == self.address(i)

    @rule(data=st.data())
    def replay(self, data: st.DataObject) -> None:
        """No copy that was taken back once is ever taken back again."""
        if self.stale:
            i, copy = data.draw(st.sampled_from(self.stale))
            code = encls.eldu(self.machine, fresh(), self.va, i, *copy, self.address(i), self.secs)
            assert code == ErrorCode.SGX_MAC_COMPARE_FAIL

    @invariant()
    def children_are_counted(self) -> None:
        if hasattr(self, "pages"):
            assert self.secs.children == sum(p.valid for p in self.pages)

    @invariant()
    def entries_are_consistent(self) -> None:
        for i, p in enumerate(getattr(self, "pages", [])):
            if not p.valid:
                assert p.secs is None and not (p.blocked or p.pending or p.modified or p.pr)
                continue
            assert p.secs is self.secs and p.enclaveaddress == self.address(i) < BASE + SIZE
            assert p.pt in (PageType.REG, PageType.TCS, PageType.TRIM) and i not in self.evicted
            assert p.rwx & 3 != 2, "writable but not readable"
            assert p.pt == PageType.REG or p.rwx == 0
            assert not (p.pending and (p.modified or p.pr)) and not (p.modified and p.pr)
            assert not (p.pending or p.modified or p.pr) or self.initialised
            assert p.accessible == (p.pt == PageType.REG and not (p.blocked or p.pending or p.modified))
            assert bytes(p.data) == self.content[i], "content changed behind the enclave's back"

    @invariant()
    def slots_are_those_of_evicted_pages(self) -> None:
        if hasattr(self, "va"):
            used = {i for i in range(512) if any(self.va.data[i * 8 : i * 8 + 8])}
            assert used == set(self.evicted)


Epcm.TestCase.settings = settings(max_examples=60, stateful_step_count=40)
TestEpcmStates = Epcm.TestCase
