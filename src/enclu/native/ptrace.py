"""ptrace(2), registers and siginfo of a traced thread, by ctypes.

Kernel: include/uapi/linux/ptrace.h, arch/x86/include/asm/user_64.h.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import struct

from enclu.base.abi import NR

_libc = ctypes.CDLL(None, use_errno=True)
_ptrace = _libc.ptrace
_ptrace.restype = ctypes.c_long
_ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
raw = ctypes.PyDLL(None).ptrace
"""ptrace itself, for the hot path: -1 on failure, no exception.

Converting arguments costs more than the calls, none of which waits: so the interpreter's lock is kept, and all
four arguments are `Word`s made beforehand.
"""
Word = ctypes.c_long
NOTHING = Word(0)


PEEKUSER = 3
POKEUSER = 6
CONT = 7
SINGLESTEP = 9
GETREGS = 12
SETREGS = 13
DETACH = 17
SYSCALL = 24
SYSEMU = 31
SYSEMU_SINGLESTEP = 32
SETOPTIONS = 0x4200
GETEVENTMSG = 0x4201
GETSIGINFO = 0x4202
SETSIGINFO = 0x4203
GETREGSET = 0x4204
SETREGSET = 0x4205
SEIZE = 0x4206
INTERRUPT = 0x4207
LISTEN = 0x4208
PEEKSIGINFO = 0x4209
GETSIGMASK = 0x420A
SETSIGMASK = 0x420B

NT_X86_XSTATE = 0x202
SYSCALL_STOP = 0x80
"""PTRACE_O_TRACESYSGOOD marks SIGTRAP of a syscall stop with this bit."""


class Option:
    """PTRACE_O_*."""

    TRACESYSGOOD = 1 << 0
    TRACEFORK = 1 << 1
    TRACEVFORK = 1 << 2
    TRACECLONE = 1 << 3
    TRACEEXEC = 1 << 4
    TRACEVFORKDONE = 1 << 5
    TRACEEXIT = 1 << 6
    TRACESECCOMP = 1 << 7
    EXITKILL = 1 << 20


class Event:
    """PTRACE_EVENT_*, bits 16..23 of a stop's wait status."""

    FORK = 1
    VFORK = 2
    CLONE = 3
    EXEC = 4
    VFORK_DONE = 5
    EXIT = 6
    SECCOMP = 7
    STOP = 128


def event_code(event: int) -> int:
    """si_code of a thread's siginfo at its stop for this event (ptrace_event() of include/linux/ptrace.h)."""
    return signal.SIGTRAP | event << 8


class UserRegs(ctypes.Structure):
    """struct user_regs_struct; implements `sgx.processor.Registers`."""

    _fields_ = [
        (name, ctypes.c_uint64)
        for name in [
            "r15",
            "r14",
            "r13",
            "r12",
            "rbp",
            "rbx",
            "r11",
            "r10",
            "r9",
            "r8",
            "rax",
            "rcx",
            "rdx",
            "rsi",
            "rdi",
            "orig_rax",
            "rip",
            "cs",
            "rflags",
            "rsp",
            "ss",
            "fs_base",
            "gs_base",
            "ds",
            "es",
            "fs",
            "gs",
        ]
    ]

    def load(self, image: bytes) -> None:
        """Make them what bytes() gave before."""
        ctypes.memmove(ctypes.addressof(self), image, ctypes.sizeof(self))

    def clear(self) -> None:
        """Make all general-purpose registers 0."""
        ctypes.memset(ctypes.addressof(self), 0, _GPRS_SIZE)
        self.rsp = 0

    r15: int
    r14: int
    r13: int
    r12: int
    rbp: int
    rbx: int
    r11: int
    r10: int
    r9: int
    r8: int
    rax: int
    rcx: int
    rdx: int
    rsi: int
    rdi: int
    orig_rax: int
    rip: int
    cs: int
    rflags: int
    rsp: int
    ss: int
    fs_base: int
    gs_base: int
    ds: int
    es: int
    fs: int
    gs: int


_GPRS_SIZE = 8 * [name for name, *_ in UserRegs._fields_].index("orig_rax")
"""Of all general-purpose registers but RSP, which stand in front."""


def registers(tid: int) -> UserRegs:
    """A copy of the stopped thread's registers.  Raises OSError."""
    regs = UserRegs()
    ptrace(GETREGS, tid, 0, ctypes.addressof(regs))
    return regs


NO_SYSCALL = 0xFFFF_FFFF_FFFF_FFFF
"""orig_rax of a thread that is in no system call, or whose call is to be skipped."""


class _Iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("len", ctypes.c_size_t)]


def ptrace(request: int, tid: int, addr: int = 0, data: int = 0) -> int:
    """One ptrace call.  Raises OSError; ESRCH means that the thread is gone or running."""
    result: int = _ptrace(request, tid, addr, data)
    if result == -1:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


def ptrace_value(request: int, tid: int, addr: int) -> int:
    """One of the requests that give a word, by the system call: it stores the word.  Raises OSError."""
    value = ctypes.c_ulong()
    if _libc.syscall(NR["ptrace"], request, tid, ctypes.c_ulong(addr), ctypes.byref(value)):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return value.value


def with_bytes(request: int, tid: int, addr: int, data: bytes) -> None:
    """One ptrace call with a pointer to these bytes.  Raises OSError."""
    buffer = ctypes.create_string_buffer(data, len(data))
    ptrace(request, tid, addr, ctypes.addressof(buffer))


def event_message(tid: int, event: int = 0) -> int:
    """PTRACE_GETEVENTMSG; of this `event`, if one is given.

    Raises ProcessLookupError if the thread has been killed since: at its exit event the message is its status.
    """
    value = ctypes.c_ulong()
    ptrace(GETEVENTMSG, tid, 0, ctypes.addressof(value))
    if event:
        info = SigInfo()
        info.get(tid)
        if info.code != event_code(event):
            raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))
    return value.value


_mask = ctypes.c_uint64()
_MASK = ctypes.addressof(_mask)
_GETSIGMASK, _MASK_SIZE, _MASK_WORD = map(Word, (GETSIGMASK, 8, _MASK))


def signal_mask(tid: int) -> int:
    """The thread's blocked signals, bit n-1 for signal n."""
    if raw(_GETSIGMASK, Word(tid), _MASK_SIZE, _MASK_WORD):
        ptrace(GETSIGMASK, tid, 8, _MASK)  # which tells the error
    return _mask.value


def set_signal_mask(tid: int, mask: int) -> None:
    """PTRACE_SETSIGMASK."""
    _mask.value = mask
    ptrace(SETSIGMASK, tid, 8, _MASK)


XSTATE_MAX = 1 << 14
_xstate = (ctypes.c_char * XSTATE_MAX)()
_xstate_view = memoryview(_xstate).cast("B")


_iovec = _Iovec(ctypes.addressof(_xstate), XSTATE_MAX)
_IOVEC = ctypes.addressof(_iovec)
_GETREGSET, _SETREGSET, _NT_X86_XSTATE, _XSTATE = map(Word, (GETREGSET, SETREGSET, NT_X86_XSTATE, _IOVEC))


def get_xstate(tid: int) -> bytearray:
    """NT_X86_XSTATE: a standard-format XSAVE image."""
    _iovec.len = XSTATE_MAX
    ptrace(GETREGSET, tid, NT_X86_XSTATE, _IOVEC)
    return bytearray(_xstate_view[: _iovec.len])


def borrow_xstate(who: ctypes.c_long) -> memoryview:
    """The image of `get_xstate`, in memory that the next call uses again: on the path of every EENTER, hence `Word`s.

    Raises ProcessLookupError.
    """
    _iovec.len = XSTATE_MAX
    if raw(_GETREGSET, who, _NT_X86_XSTATE, _XSTATE):
        raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))
    return _xstate_view[: _iovec.len]


def return_xstate(who: ctypes.c_long) -> None:
    """Load what has become of what was borrowed.  Raises ProcessLookupError."""
    if raw(_SETREGSET, who, _NT_X86_XSTATE, _XSTATE):
        raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))


def set_xstate(tid: int, image: bytes | bytearray) -> None:
    """Load an image of the size that `get_xstate` returned."""
    _iovec.len = len(image)
    _xstate_view[: _iovec.len] = image
    ptrace(SETREGSET, tid, NT_X86_XSTATE, _IOVEC)


SIGINFO_SIZE = 128
_siginfo_head = struct.Struct("<iiiiQ")


class SigInfo:
    """siginfo_t of a stop: signo, code and the fault address (valid for synchronous signals)."""

    __slots__ = ("_buffer", "_words", "pointer", "word")

    def __init__(self) -> None:
        self._buffer = (ctypes.c_ubyte * SIGINFO_SIZE)()
        self._words = memoryview(self._buffer).cast("B").cast("i")
        self.pointer = ctypes.addressof(self._buffer)
        self.word = Word(self.pointer)

    @classmethod
    def fault(cls, signo: int, code: int, address: int) -> SigInfo:
        """What the kernel's force_sig_fault() builds."""
        info = cls()
        _siginfo_head.pack_into(info._buffer, 0, signo, 0, code, 0, address)
        return info

    @property
    def signo(self) -> int:
        return int(_siginfo_head.unpack_from(self._buffer)[0])

    @property
    def code(self) -> int:
        return self._words[2]

    @property
    def address(self) -> int:
        return int(_siginfo_head.unpack_from(self._buffer)[4])

    def __bytes__(self) -> bytes:
        return bytes(self._buffer)

    @classmethod
    def of(cls, image: bytes) -> SigInfo:
        """From what `bytes` made of one."""
        info = cls()
        ctypes.memmove(info.pointer, image, SIGINFO_SIZE)
        return info

    def renumbered(self, signo: int) -> SigInfo:
        """The same of another signal."""
        info = SigInfo.of(bytes(self))
        info._words[0] = signo
        return info

    def get(self, tid: int) -> None:
        """PTRACE_GETSIGINFO into this object."""
        ptrace(GETSIGINFO, tid, 0, self.pointer)

    def set(self, tid: int) -> None:
        """PTRACE_SETSIGINFO."""
        ptrace(SETSIGINFO, tid, 0, self.pointer)


_peek_args = struct.Struct("<QIi")
_PEEKED = 32


def queued_signals(tid: int) -> list[int]:
    """Signals that wait for this thread alone, among them those of its own faults (PTRACE_PEEKSIGINFO)."""
    args = ctypes.create_string_buffer(_peek_args.pack(0, 0, _PEEKED), _peek_args.size)
    infos = ctypes.create_string_buffer(_PEEKED * SIGINFO_SIZE)
    count = ptrace(PEEKSIGINFO, tid, ctypes.addressof(args), ctypes.addressof(infos))
    return [int(_siginfo_head.unpack_from(infos, i * SIGINFO_SIZE)[0]) for i in range(count)]


_vm_readv = _libc.process_vm_readv
_vm_readv.restype = ctypes.c_ssize_t
_vm_readv.argtypes = (
    ctypes.c_int, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_ulong,
)  # fmt: skip
_vm_writev = _libc.process_vm_writev
_vm_writev.restype = ctypes.c_ssize_t
_vm_writev.argtypes = _vm_readv.argtypes


_here, _there = _Iovec(), _Iovec()
_HERE, _THERE = ctypes.addressof(_here), ctypes.addressof(_there)


def vm_read(pid: int, address: int, local: int, size: int) -> int:
    """process_vm_readv into the local address; the bytes read, which honour the program's own protections."""
    _here.base, _here.len, _there.base, _there.len = local, size, address, size
    return int(_vm_readv(pid, _HERE, 1, _THERE, 1, 0))


def vm_write(pid: int, address: int, local: int, size: int) -> int:
    """process_vm_writev from the local address; the bytes written."""
    _here.base, _here.len, _there.base, _there.len = local, size, address, size
    return int(_vm_writev(pid, _HERE, 1, _THERE, 1, 0))
