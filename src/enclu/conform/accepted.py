"""Differences of the machine in software that docs/fidelity.md has: which cases show them."""

from __future__ import annotations

from fnmatch import fnmatchcase

_RUNS = "CPUID, VMCALL where a virtual machine lets it, loads of segment registers"
_WHERE = "SYSENTER in an enclave is #UD"
_XCR0 = "XCR0 is not narrowed to XFRM inside"
_OUTSIDE = "Code outside an enclave can read and write its PT_REG pages"
_EXECUTES = "Code outside that executes an enclave page"
_ELRANGE = "Code outside ELRANGE runs in enclave mode"
_ORDINARY = "Ordinary memory mapped into ELRANGE"
_FIRST = "The error code of a first access to a page that its VMA forbids"
_DEBUGGERS = "ptrace and `/proc/PID/mem` know nothing of EDBGRD and EDBGWR"
_MEMFD = "`fstat` on a device shows a memfd, which `read` and `write` take"
_EXECUTED = "A page whose EPCM entry lets it be executed alone can be read"
_FORK = "A forked child may not enter its parent's enclaves"
_ID = "ERESUME leaves RFLAGS.ID as it is outside"
_RUNNING = (
    "CPUID", "SGDT", "SIDT", "SLDT", "STR", "SMSW", "VMCALL", "MOV to DS", "MOV to ES", "MOV to FS", "MOV to GS",
    "POP FS", "POP GS", "LFS", "LGS",
)  # fmt: skip

ACCEPTED: dict[str, tuple[str, str]] = {
    **{f"instruction/{name}": ("EEXIT", _RUNS) for name in _RUNNING},
    **{f"instruction/{name}: where": ("EEXIT", _RUNS) for name in _RUNNING},
    "instruction/SYSENTER: where": ("somewhere else, *", _WHERE),
    "instruction/AVX* without XFRM's bit*": ("EEXIT", _XCR0),
    "mapping/read of the device": ("0 bytes", _MEMFD),
    "mapping/write of the device": ("8 bytes", _MEMFD),
    "mapping/a forked child enters": ("EENTER: #PF 0x4 at tcs0", _FORK),
    "access/VMA r-x, EPCM --x: read": ("EEXIT", _EXECUTED),
    "access/VMA rwx, EPCM --x: read": ("EEXIT", _EXECUTED),
    "access/VMA -wx, EPCM --x: read": ("EEXIT", _EXECUTED),
    "eresume/ID is restored": ("0x0", _ID),
    "place/a page's first access, which its mapping forbids: *": ("AEX: #PF 0x*", _FIRST),
    "place/code outside: fetch": ("EEXIT", _ELRANGE),
    "place/ordinary memory mapped into ELRANGE: *": ("EEXIT", _ORDINARY),
    "place/read from outside: *": ("0x*", _OUTSIDE),
    "place/write from outside is lost: data": ("0x1234", _OUTSIDE),
    "place/execution from outside": ("executed", _EXECUTES),
    "place/a system call that writes to *": ("EFAULT", _EXECUTES),
    "debug/a debug enclave where no page is": ("8 bytes, 0x0", _DEBUGGERS),
    "debug/a production enclave's *": ("8 bytes, *", _DEBUGGERS),
    "debug/a debug enclave's data is written": ("EIO", _DEBUGGERS),
    "debug/*opted in": ("broken: EDBGWR of TCS.FLAGS: EIO", _DEBUGGERS),
}
"""Pattern of names -> what is observed (a pattern, too), and the words with which a row in docs/fidelity.md begins."""


def accepted_as(name: str, observed: str) -> str | None:
    """The row that says why a case differs so; None if nothing does."""
    for pattern, (seen, row) in ACCEPTED.items():
        if fnmatchcase(name, pattern) and fnmatchcase(observed, seen):
            return row
    return None
