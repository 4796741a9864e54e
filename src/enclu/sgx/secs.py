"""The SGX Enclave Control Structure of one enclave, with the state that hardware keeps in it.

SDM 3D section 35.7; tracking of entries for ETRACK: section 36.5.1.
"""

from __future__ import annotations

from enclu.sgx.epc import EPCPage
from enclu.sgx.measurement import Measurement
from enclu.sgx.structs import SECS


class Secs:
    """SECS fields spelled in lower case; `measurement` is the running MRENCLAVE until EINIT ends it."""

    def __init__(self, page: EPCPage, image: bytes, eid: int, xsave_pages: int) -> None:
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
        self.inside: dict[int, int] = {}
        """Processors now in the enclave, by the epoch in which they entered."""

        self.contexts: dict[int, tuple[EPCPage, tuple[EPCPage, ...], EPCPage, int]] = {}
        """By address of a TCS in use: its page; of its current SSA frame those that the XSAVE region touches, and the
        last, the physical addresses of which hardware keeps in CR_TCS_PA, CR_XSAVE_PAGE_n and CR_GPR_PA; and the epoch
        of the entry."""

    def entered(self) -> int:
        """A processor enters; the epoch, which is the current one."""
        self.inside[self.epoch] = self.inside.get(self.epoch, 0) + 1
        return self.epoch

    def left(self, epoch: int) -> None:
        """A processor leaves that entered in `epoch`."""
        if self.inside[epoch] == 1:
            del self.inside[epoch]
        else:
            self.inside[epoch] -= 1

    @property
    def tracked(self) -> bool:
        """No processor is inside that entered before the last ETRACK."""
        return not self.inside or min(self.inside) >= self.epoch

    def contents(self) -> bytes:
        """The SECS as EWB writes it: the architectural fields in their places."""
        return SECS.pack(
            SIZE=self.size, BASEADDR=self.baseaddr, SSAFRAMESIZE=self.ssaframesize, MISCSELECT=self.miscselect,
            ATTRIBUTES=self.attributes, XFRM=self.xfrm, MRENCLAVE=self.mrenclave, MRSIGNER=self.mrsigner,
            CONFIGID=self.configid, ISVPRODID=self.isvprodid, ISVSVN=self.isvsvn, CONFIGSVN=self.configsvn,
        )  # fmt: skip
