"""One SGX machine: its EPC, its keys and what it supports."""

from __future__ import annotations

import functools
import itertools
import os
from typing import TYPE_CHECKING

from enclu.sgx import crypto, xsave
from enclu.sgx.encls.svn import SvnUpdate
from enclu.sgx.epc import EPC
from enclu.sgx.structs import MISC_EXINFO, Attribute

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    from enclu.sgx.enclave_mode import EnclaveMode
    from enclu.sgx.epc import EPCPage
    from enclu.sgx.secs import Secs

ATTRIBUTES_SUPPORTED = int(
    Attribute.INIT | Attribute.DEBUG | Attribute.MODE64BIT | Attribute.PROVISIONKEY | Attribute.EINITTOKEN_KEY
    | Attribute.KSS | Attribute.AEXNOTIFY
)  # fmt: skip
CPUSVN = bytes([1] * 16)
EPC_PHYSICAL_BASE = 0x7_0000_0000
MAX_ENCLAVE_SIZE_64 = 46
"""log2 of the largest ELRANGE in bytes."""


class Machine:
    """What the enclaves of one run share.

    `secret` (32 bytes) is what fuses are to a processor: all keys derive from it.  None makes a fresh one.
    `layout` is that of the processors' extended state.
    """

    def __init__(self, epc_size: int, secret: bytes | None = None, layout: xsave.XsaveLayout = xsave.INTEL_AVX) -> None:
        self.epc = EPC(epc_size)
        self.epc_size = epc_size
        self.secret = secret if secret is not None else os.urandom(32)
        self.report_keyid = os.urandom(32)
        self.version = itertools.count(1)
        self.eids = itertools.count(1)
        self.layout = layout
        self.xfrm = layout.offered
        """What enclaves may use of the extended state."""
        self.miscselect = MISC_EXINFO
        self.attributes = ATTRIBUTES_SUPPORTED
        self.cpusvn = CPUSVN
        self.svn_update = SvnUpdate.NONE
        """What EUPDATESVN finds the next time."""
        self.lepubkeyhash = bytes(32)
        """IA32_SGXLEPUBKEYHASH: the signer that may launch; writable, as with flexible launch control."""
        self.enclaves: dict[int, Secs] = {}
        self.processors: set[EnclaveMode] = set()
        """Enclave mode of every logical processor that may be in an enclave."""

    @functools.cached_property
    def paging_cipher(self) -> AESGCM:
        """What evicted pages are encrypted by, with a key of this boot."""
        return crypto.aes_gcm(os.urandom(16))

    def lose_power(self, pages: Iterable[EPCPage]) -> None:
        """S3 and deeper sleep: no entry of the EPCM is valid any more, and what a reset makes anew is new.

        `pages` are those in use; no processor is in an enclave.  SDM 3D section 39.14.
        """
        for page in pages:
            page.invalidate()
        for secs in self.enclaves.values():
            secs.children = 0
        self.__dict__.pop("paging_cipher", None)
        self.report_keyid = os.urandom(32)

    def cpuid(self, subleaf: int) -> tuple[int, int, int, int]:
        """CPUID leaf 0x12 (SDM 3D section 34.7.2): EAX, EBX, ECX, EDX."""
        if subleaf == 0:
            sgx1_sgx2_eupdatesvn_edeccssa = 1 << 0 | 1 << 1 | 1 << 10 | 1 << 11
            return sgx1_sgx2_eupdatesvn_edeccssa, self.miscselect, 0, MAX_ENCLAVE_SIZE_64 << 8 | 31
        if subleaf == 1:
            attributes = self.attributes & ~Attribute.INIT
            return attributes & 0xFFFF_FFFF, attributes >> 32, self.xfrm & 0xFFFF_FFFF, self.xfrm >> 32
        if subleaf == 2:
            base, size = EPC_PHYSICAL_BASE, self.epc_size
            return base & 0xFFFF_F000 | 1, base >> 32, size & 0xFFFF_F000 | 1, size >> 32
        return 0, 0, 0, 0
