"""A debugger's view of a debug enclave, by EDBGRD and EDBGWR: memory, TCSes, SSA frames."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from enclu.host.errors import HostError
from enclu.host.frames import SsaFrame, frame_of
from enclu.linux.uapi import DEBUG_ACCESS, ENCLU_SGX_DEBUG_WRITE, ENCLU_SGX_IOC_DEBUG_ACCESS
from enclu.sgx.encls.debug import TCS_LIMIT
from enclu.sgx.epc import PAGE_SIZE
from enclu.sgx.structs import MISC_EXINFO, TCS, TCS_DBGOPTIN

if TYPE_CHECKING:
    from enclu.host.agent_process import AgentProcess
    from enclu.host.images import Image
    from enclu.host.loader import Loaded

CHUNK = 1 << 20
"""Bytes moved by one ioctl."""


class Debugger:
    """Of one debug enclave: `Enclave.debugger`.  Addresses are those of the process."""

    def __init__(self, process: AgentProcess, image: Image, loaded: Loaded) -> None:
        self._process, self._image, self._loaded = process, image, loaded

    def read(self, address: int, length: int) -> bytes:
        """The enclave's memory, whatever it permits itself.  Raises HostError where there is none to be read."""
        memory = self._process.memory
        out = bytearray()
        for start, size in _chunks(address, length):
            with memory.own(size) as buffer:
                self._access(start, buffer, size, 0)
                out += memory.read(buffer, size)
        return bytes(out)

    def write(self, address: int, data: bytes | bytearray) -> None:
        """Change the enclave's memory, code, too.  Of a TCS only FLAGS.  Raises HostError."""
        for start, size in _chunks(address, len(data)):
            with self._process.memory.own(bytes(data[start - address :][:size])) as buffer:
                self._access(start, buffer, size, ENCLU_SGX_DEBUG_WRITE)

    def tcs(self, tcs: int) -> dict[str, int]:
        """The fields of the TCS at this address, as the SDM spells them."""
        fields: dict[str, int] = TCS.unpack(self.read(tcs, TCS_LIMIT).ljust(TCS.size, b"\0"))
        return fields

    def opt_in(self, tcs: int, *, on: bool = True) -> None:
        """TCS.FLAGS.DBGOPTIN: INT3 and single-stepping in the enclave are #BP and #DB from the next entry on."""
        self.write(tcs + TCS.offset("FLAGS"), (TCS_DBGOPTIN if on else 0).to_bytes(8, "little"))

    def ssa(self, tcs: int, index: int | None = None, *, above: int = 0) -> SsaFrame:
        """A frame of the TCS's SSA: the one that the last AEX filled, so many below it, or the one with this index.

        Raises HostError if the enclave has not been interrupted there.
        """
        image, loaded, fields = self._image, self._loaded, self.tcs(tcs)
        if index is None:
            index = fields["CSSA"] - 1 - above
        if not 0 <= index < fields["NSSA"]:
            raise HostError(f"{image.path}: no AEX has left the TCS at {tcs:#x}, its CSSA is {fields['CSSA']}")
        size = image.ssa_frame_size * PAGE_SIZE
        address = loaded.base + fields["OSSA"] + index * size
        exinfo = bool(image.misc_select & MISC_EXINFO)
        return frame_of(address, self.read(address, size), index, loaded.xfrm, exinfo=exinfo)

    def frames(self, tcs: int) -> list[SsaFrame]:
        """All frames of the TCS's SSA that AEXs have filled, the last first.  Raises HostError."""
        return [self.ssa(tcs, index) for index in reversed(range(self.tcs(tcs)["CSSA"]))]

    def _access(self, address: int, buffer: int, length: int, flags: int) -> None:
        image = self._image
        if not self._loaded.debug:
            raise HostError(f"{image.path}: a production enclave, which nobody can debug; load it with debug=True")
        request = DEBUG_ACCESS.pack(address=address, buffer=buffer, length=length, flags=flags)
        try:
            self._process.ioctl(self._loaded.fd, ENCLU_SGX_IOC_DEBUG_ACCESS, request)
        except OSError as error:
            what = "EDBGWR" if flags else "EDBGRD"
            raise HostError(
                f"{image.path}: {what} of {length} bytes at {address:#x}: {os.strerror(error.errno or 0)}"
            ) from None


def _chunks(address: int, length: int) -> Iterator[tuple[int, int]]:
    for done in range(0, length, CHUNK):
        yield address + done, min(CHUNK, length - done)
