"""What the agent needs of the kernel, under each delivery design, to be told of exceptions (include/enclu_sgx.h)."""

from __future__ import annotations

import signal
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from enclu.host.channel import REGISTERS
from enclu.linux import delivery
from enclu.linux.delivery import mm_handler, range_handler, thread_handler, vdso_jmp
from enclu.linux.vdso import image
from enclu.native.address_space import MAP_FIXED_NOREPLACE, MAP_SHARED, VDSO_BASE
from enclu.sgx.layout import Structure

if TYPE_CHECKING:
    from enclu.host.process import Process
    from enclu.host.thread import HostThread

HELLO = Structure(
    "hello", 48,
    (0, "channel_size", "Q"), (8, "enclu", "Q"), (16, "enclu_end", "Q"), (24, "returned", "Q"),
    (32, "on_signal", "Q"), (40, "restorer", "Q"),
)  # fmt: skip
"""struct hello of agent/agent.h."""
FUNCTION = "__vdso_sgx_enter_enclave"
PROT_READ, PROT_EXEC = 1, 4
SA_SIGINFO, SA_NODEFER, SA_RESTORER, SA_RESTART = 4, 0x40000000, 0x04000000, 0x10000000
OWN_ENCLU, BY_VDSO, BY_VDSO_2018 = range(3)
"""The ways to enter: begin() in agent/agent.c."""


def _nothing(_of: object) -> None:
    pass


@dataclass(frozen=True)
class Design:
    """How the agent enters, and what is registered at the start of the process and of each thread."""

    way: int = OWN_ENCLU
    function: bool = False
    """Enter at the vDSO's function."""
    resumes: bool = True
    registers: tuple[str, ...] = REGISTERS
    """That an enclave can be entered with."""
    process: Callable[[Process], None] = _nothing
    thread: Callable[[HostThread], None] = _nothing


def _register_mm_handler(process: Process) -> None:
    arguments = mm_handler.MM_HANDLER.pack(handler=process.hello["returned"])
    process.device_ioctl(mm_handler.REGISTER, arguments)


def _register_range_handler(process: Process) -> None:
    start, end = process.hello["enclu"], process.hello["enclu_end"]
    arguments = range_handler.RANGE_HANDLER.pack(start=start, length=end - start, handler=process.hello["returned"])
    process.device_ioctl(range_handler.REGISTER, arguments)


def _register_thread_handler(thread: HostThread) -> None:
    """Once: the agent is the only runtime of its process."""
    arguments = thread_handler.THREAD_HANDLER.pack(handler=thread.process.hello["returned"])
    thread.process.device_ioctl(thread_handler.REGISTER, arguments, thread)


def _set_vdso_target(process: Process) -> None:
    """A jump from within 2 GiB of the vDSO."""
    page = process.arena.allocate(4096, align=4096)
    process.memory.write(page, b"\xff\x25\0\0\0\0" + struct.pack("<Q", process.hello["returned"]))  # jmp *0(%rip)
    near = process.control.syscall(
        "mmap", VDSO_BASE - (1 << 24), 4096, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_FIXED_NOREPLACE,
        process.arena.fd, page - process.arena.address,
    )  # fmt: skip
    process.device_ioctl(vdso_jmp.SET_TARGET, vdso_jmp.VDSO_TARGET.pack(target=near))


DESIGNS = {
    "signal": Design(),
    "vdso-2018": Design(BY_VDSO_2018, function=True, resumes=False, registers=("rdi",)),
    "vdso-jmp": Design(function=True, process=_set_vdso_target),
    "mm-handler": Design(process=_register_mm_handler),
    "thread-handler": Design(thread=_register_thread_handler),
    "range-handler": Design(process=_register_range_handler),
    "vdso": Design(BY_VDSO, function=True),
}


def of(choice: str) -> Design:
    """The agent's side of a design, which may have a setting.  Raises KeyError."""
    return DESIGNS[choice.partition(":")[0]]


def addresses(choice: str) -> tuple[int, int]:
    """The vDSO's function and its AEP; zeros where the design has the agent use its own ENCLU."""
    if not of(choice).function:
        return 0, 0
    vdso = image.load(delivery.design(choice.partition(":")[0]).vdso)
    return VDSO_BASE + vdso.symbols[FUNCTION], VDSO_BASE + vdso.extable[-1][0]


def handle_signals(process: Process, interrupt: int) -> None:
    """Every design leaves some exceptions signals, #BP and #DB at least."""
    flags = SA_SIGINFO | SA_NODEFER | SA_RESTORER | SA_RESTART
    action = struct.pack("<QQQQ", process.hello["on_signal"], flags, process.hello["restorer"], 0)
    with process.memory.temporary(action) as address:
        for signo in (signal.SIGSEGV, signal.SIGILL, signal.SIGBUS, signal.SIGFPE, signal.SIGTRAP, interrupt):
            process.control.syscall("rt_sigaction", signo, address, 0, 8)
