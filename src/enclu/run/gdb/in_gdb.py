"""What `enclu gdb` loads into gdb, in whose own Python it runs: backtraces that go on outside an enclave.

The frame below an enclave's entry is where the thread was when it entered: RIP is the AEP, RSP and RBP are those that
EENTER has kept in the SSA frame (SDM 3D section 37.4: URSP, URBP).  `monitor sgx unwind` knows them.
"""

from __future__ import annotations

from typing import Any

try:
    import gdb
    from gdb.unwinder import Unwinder, register_unwinder
except ImportError:  # not in gdb: enclu asks only where this file is
    gdb = None
    Unwinder = object

FACTS = 6
"""Numbers that `monitor sgx unwind` prints."""


class FrameId:
    """What identifies a frame to gdb."""

    def __init__(self, sp: Any, pc: Any) -> None:
        self.sp, self.pc = sp, pc


class EnclaveEntry(Unwinder):  # type: ignore[misc]
    """Unwinds the frame of an enclave's entry."""

    def __init__(self) -> None:
        super().__init__("enclu")
        self._known: dict[Any, list[int]] = {}
        """Of threads, as long as nothing runs."""
        gdb.events.cont.connect(lambda _event: self._known.clear())
        gdb.events.stop.connect(lambda _event: self._known.clear())

    def _facts(self) -> list[int]:
        """BASE, SIZE, entry, AEP, URSP, URBP of the enclave that the thread is in; none if it is in none."""
        thread = gdb.selected_thread()
        if thread is None:
            return []
        if thread.ptid not in self._known:
            words = gdb.execute("monitor sgx unwind", to_string=True).split()
            found = len(words) == FACTS and words[0].startswith("0x")
            self._known[thread.ptid] = [int(word, 0) for word in words] if found else []
        return self._known[thread.ptid]

    def __call__(self, pending: Any) -> Any:
        facts = self._facts()
        if not facts:
            return None
        base, size, entry, aep, ursp, urbp = facts
        rip, rsp = int(pending.read_register("rip")), int(pending.read_register("rsp"))
        if not base <= rip < base + size or not is_entry(rip, entry):
            return None
        unwound = pending.create_unwind_info(FrameId(gdb.Value(rsp), gdb.Value(rip)))
        for name, value in (("rip", aep), ("rsp", ursp), ("rbp", urbp)):
            unwound.add_saved_register(name, gdb.Value(value).cast(pending.read_register(name).type))
        return unwound


def is_entry(rip: int, entry: int) -> bool:
    """The code at RIP is of the file, or else the symbol, of the enclave's entry, and no function of a compiler's."""
    block = gdb.block_for_pc(rip)
    while block is not None:
        if block.function is not None:
            return False
        block = block.superblock
    lines = [gdb.find_pc_line(address).symtab for address in (rip, entry)]
    if None not in lines:
        return bool(lines[0].fullname() == lines[1].fullname())
    return bool(symbol_at(rip) == symbol_at(entry))


def symbol_at(address: int) -> str:
    """The name of the symbol in front of the address; empty if there is none."""
    text = gdb.execute(f"info symbol {address:#x}", to_string=True)
    return str(text.split()[0]) if " in section " in text else ""


if gdb is not None:
    register_unwinder(None, EnclaveEntry(), replace=True)
