"""Enclave mode of a logical processor: the internal control registers of SDM 3D section 35.20, kept in memory.

Enclave mode is a record in a fixed slot, not attributes of a Python object: code that runs inside the program's own
process reads and writes the same slot (`native/in_process.py`).
"""

from __future__ import annotations

from enclu.sgx.processor import Access
from enclu.sgx.structs import EncluLeaf

SLOT_SIZE = 32768
"""Bytes of one processor's slot, the end of which is a stack for one signal frame."""
FIELDS = (
    "TCS_LA", "EID", "BASE", "SIZE", "FS", "GS", "GPRSGX", "TF", "EPOCH", "MODE", "TCS", "ASIDE", "NARROW",
    "SITE", "FLAGS", "RCX", "RDX", "RSI", "RDI", "TICKET", "STUB", "AEP", "NEXT", "CSSA", "FSBASE", "GSBASE", "RIP",
    "CS", "RFLAGS", "RSP", "SS", "EENTERS", "ERESUMES", "EEXITS", "EDECCSSAS", "ONWARD", "COUNT",
    "RING", "RING_END", "RING_NEXT", "LOSSY", "FIXUP", "VECTOR", "ADDRESS", "CODES", "EXITINFO", "XFRM", "FAULT_RSP",
)  # fmt: skip
"""Little-endian 64-bit words, in this order from the slot's beginning: registers of enclave mode, and from SITE on what
code in the process keeps while it executes a leaf."""
WORD = {name: number for number, name in enumerate(FIELDS)}
INITIAL, XSAVE = 384, 960
"""Where a slot has an XSAVE image of initial state, and one of what is outside XFRM and was put aside."""
COUNTED = {leaf: WORD[f"{leaf.name}S"] for leaf in EncluLeaf if f"{leaf.name}S" in WORD}
"""Leaves that code in the process executes, each with the word that counts them."""
CODE_SHIFTS = {Access.READ: 0, Access.WRITE: 16, Access.FETCH: 32}
"""Where CODES has the error code that an access of that kind would have."""
CODE_EACH = sum(1 << shift for shift in CODE_SHIFTS.values())
UNTRACKED = (1 << 64) - 1
"""An epoch of which no tracking waits for the end."""
CODE_UNKNOWN, CODE_OF_FRAME = 0x2000, 0x4000
"""In place of one, where nothing forbids the access; in one, that it has all that is in the host's, too."""
_EENTERS, _ERESUMES, _EEXITS = (COUNTED[leaf] for leaf in (EncluLeaf.EENTER, EncluLeaf.ERESUME, EncluLeaf.EEXIT))
_TCS_LA, _EID, _BASE, _SIZE, _FS, _GS, _GPRSGX, _TF, _EPOCH, _MODE, _TCS, *_ = range(len(FIELDS))


class EnclaveMode:
    """One processor's slot.  All zero: not in enclave mode."""

    __slots__ = ("owner", "words")

    def __init__(self, slot: memoryview | None = None) -> None:
        self.owner = 1
        """What TCS.STATE is of a TCS that this processor uses."""
        self.place(memoryview(bytearray(SLOT_SIZE)) if slot is None else slot)

    def place(self, slot: memoryview, owner: int = 1) -> None:
        """The slot is this one from now on; the processor is not in enclave mode."""
        self.words = slot.cast("Q")
        self.owner = owner

    @property
    def tcs_la(self) -> int:
        """CR_TCS_LA: linear address of the TCS in use, or about to be; 0 if none (no TCS can lie at 0)."""
        return self.words[_TCS_LA]

    @property
    def enclave(self) -> bool:
        """CR_ENCLAVE_MODE."""
        return self.words[_MODE] & 1 != 0

    @property
    def eid(self) -> int:
        """SECS.EID of CR_ACTIVE_SECS."""
        return self.words[_EID]

    @property
    def elrange(self) -> tuple[int, int]:
        """CR_ELRANGE: base and size in bytes."""
        return self.words[_BASE], self.words[_SIZE]

    @property
    def save_fs_base(self) -> int:
        """CR_SAVE_FS.BASE: what EEXIT and AEX give back."""
        return self.words[_FS]

    @property
    def save_gs_base(self) -> int:
        """CR_SAVE_GS.BASE."""
        return self.words[_GS]

    @property
    def gprsgx(self) -> int:
        """CR_GPR_PA, as the linear address of the GPRSGX area of the current SSA frame."""
        return self.words[_GPRSGX]

    @property
    def save_tf(self) -> int:
        """CR_SAVE_TF: RFLAGS.TF as it was before an opt-out entry (0 or 1)."""
        return self.words[_TF] & 1

    @property
    def dbgoptin(self) -> bool:
        """CR_DBGOPTIN: TCS.FLAGS.DBGOPTIN as it was at entry: a debugger is welcome."""
        return self.words[_TF] & 2 != 0

    @property
    def epoch(self) -> int:
        """The tracking epoch of its enclave in which it entered (SDM 3D section 36.5.1)."""
        return self.words[_EPOCH]

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        self.words[_EPOCH] = epoch

    def inside_since_before(self, eid: int, epoch: int) -> bool:
        """It is in the enclave, in which it entered before this tracking epoch of it, which has begun.

        Code in the process may enter and leave while this is read.  Who has entered or left meanwhile entered in time.
        """
        seen = self._seen()
        mode, inside, since, *_ = seen
        return bool(mode & 1) and inside == eid and since < epoch and self._seen() == seen

    def _seen(self) -> tuple[int, ...]:
        w = self.words
        return w[_MODE], w[_EID], w[_EPOCH], w[_TCS_LA], w[_EENTERS], w[_ERESUMES], w[_EEXITS]

    def enter(
        self, tcs_la: int, eid: int, base: int, size: int, fs_base: int, gs_base: int, gprsgx: int, tf: int, optin: int,
        epoch: int, tcs: int = 0,
    ) -> None:  # fmt: skip
        """Set every register of the slot; what makes it valid, last.

        `tcs` is where code in the process sees the TCS, 0 if nowhere.
        """
        w = self.words
        w[_EID] = eid
        w[_BASE] = base
        w[_SIZE] = size
        w[_FS] = fs_base
        w[_GS] = gs_base
        w[_GPRSGX] = gprsgx
        w[_TF] = tf | optin << 1
        w[_EPOCH] = epoch
        w[_TCS] = tcs
        w[_TCS_LA] = tcs_la
        w[_MODE] = 1

    def move_tcs(self, tcs: int) -> None:
        """Code in the process sees the TCS in use there from now on."""
        self.words[_TCS] = tcs

    def move_frame(self, gprsgx: int) -> None:
        """EDECCSSA: another SSA frame is current."""
        self.words[_GPRSGX] = gprsgx

    def leave(self) -> None:
        """CR_ENCLAVE_MODE := 0."""
        self.words[_MODE] = 0
        self.words[_TCS_LA] = 0

    def counts(self) -> dict[EncluLeaf, int]:
        """What code in the process has executed since the slot was given to the processor."""
        return {leaf: self.words[number] for leaf, number in COUNTED.items()}
