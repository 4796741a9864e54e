"""Enclave mode of a logical processor: the internal control registers of SDM 3D section 35.20, kept in memory.

Enclave mode is a record in a table of fixed slots, not an attribute of a Python object: code that runs inside
the program's own process can read and write the same slot.
"""

from __future__ import annotations

SLOT_SIZE = 128
"""Bytes of one processor's slot: little-endian 64-bit words, in the order below."""


class EnclaveMode:
    """One processor's slot.  All zero: not in enclave mode."""

    __slots__ = ("_words",)

    def __init__(self, slot: memoryview | None = None) -> None:
        if slot is None:
            slot = memoryview(bytearray(SLOT_SIZE))
        self._words = slot.cast("Q")

    @property
    def tcs_la(self) -> int:
        """CR_TCS_LA: linear address of the TCS in use; 0 outside enclave mode (no TCS can lie at 0)."""
        return self._words[0]

    @property
    def enclave(self) -> bool:
        """CR_ENCLAVE_MODE."""
        return self._words[0] != 0

    @property
    def eid(self) -> int:
        """SECS.EID of CR_ACTIVE_SECS."""
        return self._words[1]

    @property
    def elrange(self) -> tuple[int, int]:
        """CR_ELRANGE: base and size in bytes."""
        return self._words[2], self._words[3]

    @property
    def save_fs_base(self) -> int:
        """CR_SAVE_FS.BASE: what EEXIT and AEX give back."""
        return self._words[4]

    @property
    def save_gs_base(self) -> int:
        """CR_SAVE_GS.BASE."""
        return self._words[5]

    @property
    def gprsgx(self) -> int:
        """CR_GPR_PA, as the linear address of the GPRSGX area of the current SSA frame."""
        return self._words[6]

    @property
    def save_tf(self) -> int:
        """CR_SAVE_TF: RFLAGS.TF as it was before an opt-out entry (0 or 1)."""
        return self._words[7] & 1

    @property
    def dbgoptin(self) -> bool:
        """CR_DBGOPTIN: TCS.FLAGS.DBGOPTIN as it was at entry: a debugger is welcome."""
        return self._words[7] & 2 != 0

    @property
    def epoch(self) -> int:
        """The tracking epoch of its enclave in which it entered (SDM 3D section 36.5.1)."""
        return self._words[8]

    def enter(
        self, tcs_la: int, eid: int, base: int, size: int, fs_base: int, gs_base: int, gprsgx: int, tf: int, optin: int,
        epoch: int,
    ) -> None:  # fmt: skip
        """Set every register of the slot; the TCS address, which makes it valid, last."""
        w = self._words
        w[1] = eid
        w[2] = base
        w[3] = size
        w[4] = fs_base
        w[5] = gs_base
        w[6] = gprsgx
        w[7] = tf | optin << 1
        w[8] = epoch
        w[0] = tcs_la

    def move_frame(self, gprsgx: int) -> None:
        """EDECCSSA: another SSA frame is current."""
        self._words[6] = gprsgx

    def leave(self) -> None:
        """CR_ENCLAVE_MODE := 0."""
        self._words[0] = 0
