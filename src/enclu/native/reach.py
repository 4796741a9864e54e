"""Instructions that control flow reaches from one that is known to be one.

Followed are direct jumps and calls, both ways of a condition, and what is behind a call.  Imported only where it
matters: the decoder takes longer to load than most programs to run.
"""

from __future__ import annotations

from typing import Any

import capstone

MOST = 4096
"""Instructions, at most: a page's worth."""
_ENDS = ("ret", "retf", "hlt", "ud2", "int3", "iretq")


def reached(code: bytes, base: int, start: int) -> dict[int, int]:
    """Address and size of the instructions, in `code` at address `base`, that are reached from the one at `start`."""
    decoder: Any = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    found: dict[int, int] = {}
    to_do = [start]
    while to_do and len(found) < MOST:
        begin = to_do.pop()
        if begin in found or not base <= begin < base + len(code):
            continue
        for address, size, mnemonic, operand in decoder.disasm_lite(code[begin - base :], begin):
            if address in found or len(found) == MOST:
                break
            found[address] = size
            name = mnemonic.split()[-1]  # behind prefixes: "bnd jmp"
            if (name.startswith(("j", "loop")) or name == "call") and operand.startswith("0x"):
                to_do.append(int(operand, 16))
            if name == "jmp" or name in _ENDS:
                break
    return found
