"""Gramine: RDI has the number of an ECALL or OCALL.

Gramine: pal/src/host/linux-sgx/pal_ecall_types.h, pal_ocall_types.h, host_entry.S, enclave_entry.S.  The numbers are
those of its releases since 1.8; up to GET_QUOTE, 1.5 to 1.7 have the same.
"""

from __future__ import annotations

from enclu.trace.decoders import Call, Decoder, Evidence, Kind, Names

_LOADER = "loader"
_STACK = 1 << 14
"""Bytes above RSP in which the first ECALL's arguments are: a local variable of its caller's."""
_ECALLS = ("ENCLAVE_START", "THREAD_START", "THREAD_RESET")
_OCALLS = (
    "EXIT", "MMAP_UNTRUSTED", "MUNMAP_UNTRUSTED", "CPUID", "OPEN", "CLOSE", "READ", "WRITE", "PREAD", "PWRITE", "FSTAT",
    "FIONREAD", "FSETNONBLOCK", "FCHMOD", "FSYNC", "FTRUNCATE", "MKDIR", "GETDENTS", "RESUME_THREAD",
    "SCHED_SETAFFINITY", "SCHED_GETAFFINITY", "CLONE_THREAD", "CREATE_PROCESS", "FUTEX", "SOCKET", "BIND",
    "LISTEN_SIMPLE", "LISTEN", "ACCEPT", "CONNECT", "CONNECT_SIMPLE", "RECV", "SEND", "SETSOCKOPT", "SHUTDOWN",
    "GETTIME", "SCHED_YIELD", "POLL", "RENAME", "DELETE", "DEBUG_MAP_ADD", "DEBUG_MAP_REMOVE",
    "DEBUG_DESCRIBE_LOCATION", "EVENTFD", "IOCTL", "GET_QUOTE", "GET_QE_TARGETINFO", "EDMM_RESTRICT_PAGES_PERM",
    "EDMM_MODIFY_PAGES_TYPE", "EDMM_REMOVE_PAGES",
)  # fmt: skip
_EXIT, _THREAD_RESET = _OCALLS.index("EXIT"), _ECALLS.index("THREAD_RESET")
_ENTRIES = {number: Call(Kind.ECALL, number, f"ECALL_{name}") for number, name in enumerate(_ECALLS)}
_EXITS = {number: Call(Kind.OCALL, number, f"OCALL_{name}") for number, name in enumerate(_OCALLS)}
_EXCEPTION = Call(Kind.ECALL, None, "sgx_raise")
_ECALL_RETURN, _OCALL_RETURN = Call(Kind.ECALL_RETURN), Call(Kind.OCALL_RETURN)


class Gramine(Decoder):
    """A thread's only ECALL is open until the thread ends, all else are OCALLs; at CSSA 1 exceptions are handled."""

    convention = "gramine"

    def __init__(self, names: Names) -> None:
        super().__init__(names)
        self._ocalls: dict[int, int] = {}
        """The OCALL that each TCS has made."""
        self._resetting = set[int]()
        """TCSes that are being reset: that ECALL returns, with nothing in RDI that says so."""

    @classmethod
    def recognises(cls, evidence: Evidence) -> bool:
        arguments = 0 < evidence.rsi - evidence.rsp < _STACK
        return evidence.program == _LOADER and evidence.rdi == 0 and arguments

    def enter(self, tcs: int, cssa: int, rdi: int, rsi: int) -> Call:
        if cssa:
            return _EXCEPTION
        made = self._ocalls.pop(tcs, None)
        if made == _EXIT and rdi == _THREAD_RESET:
            self._resetting.add(tcs)
        elif made is not None:
            return _OCALL_RETURN
        return _ENTRIES.get(rdi) or Call(Kind.ECALL, rdi)

    def exit(self, tcs: int, cssa: int, rdi: int, rsi: int) -> Call:
        if cssa:
            return _ECALL_RETURN
        if tcs in self._resetting:
            self._resetting.remove(tcs)
            return _ECALL_RETURN
        self._ocalls[tcs] = rdi
        return _EXITS.get(rdi) or Call(Kind.OCALL, rdi)
