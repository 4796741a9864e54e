"""The SGX Enclave Control Structure of one enclave, with the state that hardware keeps in it.

SDM 3D section 35.7; tracking of entries for ETRACK: section 36.5.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from enclu.sgx.epc import PAGE_SIZE, EPCPage
from enclu.sgx.measurement import Measurement
from enclu.sgx.structs import SECS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from enclu.sgx.enclave_mode import EnclaveMode


def _nowhere(linaddr: int) -> EPCPage | None:
    """Where the pages of an enclave are that nobody manages."""
    return None


class Secs:
    """SECS fields spelled in lower case; `measurement` is the running MRENCLAVE until EINIT ends it."""

    def __init__(
        self, page: EPCPage, image: bytes, eid: int, xsave_pages: int, processors: Collection[EnclaveMode]
    ) -> None:  # fmt: skip
        f = SECS.unpack(image)
        self.page = page
        self.eid = eid
        self.size: int = f["SIZE"]
        self.baseaddr: int = f["BASEADDR"]
        self.ssaframesize: int = f["SSAFRAMESIZE"]
        self.miscselect: int = f["MISCSELECT"]
        self.attributes: int = f["ATTRIBUTES"]
        self.xfrm: int = f["XFRM"]
        self.xsave_pages = xsave_pages
        """Pages of an SSA frame that the XSAVE region touches."""
        self.configid: bytes = f["CONFIGID"]
        self.configsvn: int = f["CONFIGSVN"]
        self.mrenclave = bytes(32)
        self.mrsigner = bytes(32)
        self.isvprodid = 0
        self.isvsvn = 0
        self.isvextprodid = bytes(16)
        self.isvfamilyid = bytes(16)
        self.initialised = False
        self.measurement = Measurement()
        self.measured = 0
        self.children = 0
        self.epoch = 0
        """Current tracking epoch; ETRACK begins a new one."""
        self.page_at: Callable[[int], EPCPage | None] = _nowhere
        """The EPC page at a linear address of the enclave.  Whoever manages the EPC knows; a processor in the enclave
        has the physical addresses of those that it uses in CR_TCS_PA, CR_XSAVE_PAGE_n and CR_GPR_PA."""
        self._processors = processors

    def abandon(self) -> None:
        """Nobody manages its pages any more: there are none."""
        self.page_at = _nowhere

    @property
    def inside(self) -> list[EnclaveMode]:
        """Processors that are in the enclave."""
        return [mode for mode in self._processors if mode.enclave and mode.eid == self.eid]

    @property
    def tracked(self) -> bool:
        """No processor is inside that entered before the last ETRACK."""
        return not any(mode.inside_since_before(self.eid, self.epoch) for mode in self._processors)

    @property
    def late(self) -> bool:
        """A processor that is inside, or about to be, may have begun to enter before the last ETRACK.

        One that is about to enter reads the epoch anew, once it can be seen that it is, so those that can be seen first
        after ETRACK are not late, although for a moment they look it.
        """
        return any(mode.epoch < self.epoch for mode in self._processors if mode.tcs_la and mode.eid == self.eid)

    def used(self, linaddr: int) -> EPCPage:
        """The EPC page at an address that a processor in the enclave uses: it stays while the processor is there."""
        page = self.page_at(linaddr)
        assert page is not None, f"EPC page in use at {linaddr:#x}"
        return page

    def frame(self, gprsgx: int) -> tuple[list[EPCPage], EPCPage]:
        """Of the SSA frame with GPRSGX at this address: the pages that the XSAVE region touches, and the last."""
        end = (gprsgx & -PAGE_SIZE) + PAGE_SIZE
        last = self.used(gprsgx)
        if self.ssaframesize == 1:
            return [last], last
        start = end - self.ssaframesize * PAGE_SIZE
        return [self.used(start + i * PAGE_SIZE) for i in range(self.xsave_pages)], last

    def contents(self) -> bytes:
        """The SECS as EWB writes it: the architectural fields in their places."""
        return SECS.pack(
            SIZE=self.size, BASEADDR=self.baseaddr, SSAFRAMESIZE=self.ssaframesize, MISCSELECT=self.miscselect,
            ATTRIBUTES=self.attributes, XFRM=self.xfrm, MRENCLAVE=self.mrenclave, MRSIGNER=self.mrsigner,
            CONFIGID=self.configid, ISVPRODID=self.isvprodid, ISVSVN=self.isvsvn, CONFIGSVN=self.configsvn,
        )  # fmt: skip
