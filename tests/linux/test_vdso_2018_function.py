"""__vdso_sgx_enter_enclave() of image `vdso_2018`, executed; code that behaves as an enclave stands in for its ENCLU.

The contract: struct enclu_sgx_enclave_exception and enclu_vdso_2018_enter_enclave_t in enclu_sgx.h.
"""

from __future__ import annotations

import ctypes
import errno
import faulthandler
import mmap
import os
import resource
import signal
import struct

import pytest

from enclu.linux.vdso import image

PROTOTYPE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_void_p)
ENCLAVE, STORED, CALLER = 0x2000, 0x2800, 0x2600
TCS, PRIV = 0xABCD_000, 0x1122_3344_5566
LOADED = image.load("vdso_2018")
(ENTER, FIXUP), (RESUME, RESUME_FIXUP) = LOADED.extable
FUNCTION = LOADED.symbols["__vdso_sgx_enter_enclave"]
DESTROY = bytes.fromhex("4831db 4d31c0 4d31c9 4d31d2 4d31db 4d31e4 4d31ed 4d31f6 4d31ff")  # RBX, R8 to R15
EXCEPTION = bytes.fromhex(  # eax 3, rdi 14, rsi 0x8007, rdx 0x1122334455667788, as a fixup leaves them
    "b803000000 48c7c70e000000 48c7c607800000 48ba8877665544332211"
)


class Mapped:
    """The image in this process, executable; EENTER leads to an enclave that stores RAX, RBX, RCX, RDI and goes on.

    `load` is what it does last, `target` where it leaves to.
    """

    def __init__(self, load: bytes, target: int) -> None:
        self.memory = mmap.mmap(-1, 0x3000, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        self.memory[: len(LOADED.data)] = LOADED.data
        # The three bytes of ENCLU hold a short jump to space that HOST_FUNCTION placeholders take, then a far one.
        hop = LOADED.symbols["__vdso_clock_gettime"]
        self.memory[ENTER : ENTER + 2] = bytes([0xEB, hop - ENTER - 2])
        self._jump(hop, ENCLAVE)
        code = b"\x49\xba" + struct.pack("<Q", self.address + STORED)  # mov r10, STORED
        for number, modrm in enumerate((0x42, 0x5A, 0x4A, 0x7A)):  # mov [r10+8n], reg
            code += bytes([0x49, 0x89, modrm, 8 * number])
        code += load
        self.memory[ENCLAVE : ENCLAVE + len(code)] = code
        self._jump(ENCLAVE + len(code), target)
        self.call = PROTOTYPE(self.address + FUNCTION)

    def _jump(self, at: int, target: int) -> None:
        self.memory[at : at + 5] = b"\xe9" + struct.pack("<i", target - at - 5)


def exits() -> Mapped:
    return Mapped(b"", ENTER + 3)


def faults() -> Mapped:
    return Mapped(EXCEPTION, FIXUP)


def info_buffer() -> ctypes.Array[ctypes.c_char]:
    return ctypes.create_string_buffer(b"\xff" * 24, 24)


def test_registers_at_eenter() -> None:
    mapped = exits()
    mapped.call(TCS, PRIV, None)
    assert struct.unpack_from("<4Q", mapped.memory, STORED) == (2, TCS, mapped.address + RESUME, PRIV)


def test_the_aep_is_an_enclu_that_never_falls_through() -> None:
    assert LOADED.data[RESUME : RESUME + 5] == b"\x0f\x01\xd7\x0f\x0b"
    assert RESUME_FIXUP == FIXUP


def test_an_exit_returns_zero_and_stores_nothing() -> None:
    info = info_buffer()
    assert exits().call(TCS, PRIV, info) == 0
    assert info.raw == b"\xff" * 24


def test_an_exception_is_stored_and_returns_efault() -> None:
    info = info_buffer()
    assert faults().call(TCS, PRIV, info) == -errno.EFAULT
    assert struct.unpack_from("<IHHQ", info.raw) == (3, 14, 0x8007, 0x1122334455667788)
    assert info.raw[16:] == b"\xff" * 8


def test_without_info_an_exception_just_returns_efault() -> None:
    assert faults().call(TCS, PRIV, None) == -errno.EFAULT


@pytest.mark.parametrize(("load", "target", "result"), [(b"", ENTER + 3, 0), (EXCEPTION, FIXUP, -errno.EFAULT)])
def test_all_callee_saved_registers_survive(load: bytes, target: int, result: int) -> None:
    """A caller in machine code loads RBX and R12 to R15, and adds them to the result afterwards."""
    mapped = Mapped(DESTROY + load, target)
    info = info_buffer()
    code = bytes.fromhex("53 55 4154 4155 4156 4157")
    code += bytes.fromhex("bb01000000 41bc02000000 41bd04000000 41be08000000 41bf10000000 bd20000000")
    code += b"\x48\xba" + struct.pack("<Q", ctypes.addressof(info)) + bytes.fromhex("31ff 31f6")
    code += b"\x48\xb8" + struct.pack("<Q", mapped.address + FUNCTION) + bytes.fromhex("4883ec08 ffd0 4883c408")
    code += bytes.fromhex("01d8 4401e0 4401e8 4401f0 4401f8 01e8")  # eax += ebx, r12d, r13d, r14d, r15d, ebp
    code += bytes.fromhex("415f 415e 415d 415c 5d 5b c3")
    mapped.memory[CALLER : CALLER + len(code)] = code
    assert ctypes.CFUNCTYPE(ctypes.c_int)(mapped.address + CALLER)() == result + 63


def test_the_direction_flag_is_left_as_the_enclave_had_it() -> None:
    mapped = Mapped(b"\xfd", ENTER + 3)  # std
    code = b"\x48\xb8" + struct.pack("<Q", mapped.address + FUNCTION) + bytes.fromhex("31d2 4883ec08 ffd0 4883c408")
    code += bytes.fromhex("9c 58 fc c3")  # pushf; pop rax; cld
    mapped.memory[CALLER : CALLER + len(code)] = code
    assert ctypes.CFUNCTYPE(ctypes.c_int)(mapped.address + CALLER)() & 1 << 10


def test_an_enclave_that_moves_the_stack_pointer_crashes_its_host() -> None:
    mapped = Mapped(b"\x6a\x00", ENTER + 3)  # push 0
    child = os.fork()
    if child == 0:
        faulthandler.disable()
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        mapped.call(TCS, PRIV, None)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGSEGV
