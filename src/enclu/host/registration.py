"""What the agent registers to be told of exceptions, under each delivery design; made of what the design declares."""

from __future__ import annotations

import signal
import struct
from typing import TYPE_CHECKING, Any, Protocol

from enclu.base.abi import (
    MAP_FIXED_NOREPLACE,
    MAP_SHARED,
    PROT_EXEC,
    PROT_READ,
    SA_NODEFER,
    SA_RESTART,
    SA_RESTORER,
    SA_SIGINFO,
)
from enclu.host.thread import BREAK, INTERRUPT
from enclu.native.address_space import VDSO_BASE
from enclu.native.process import SignalAction

if TYPE_CHECKING:
    from enclu.host.arena import Arena
    from enclu.host.designs import Design
    from enclu.host.memory import Memory
    from enclu.host.thread import HostThread
    from enclu.linux.delivery.usage import Registration


class Agent(Protocol):
    """The process, as it has begun: with one thread."""

    arena: Arena
    memory: Memory
    control: HostThread
    design: Design
    hello: dict[str, Any]

    def device_ioctl(self, command: int, arguments: bytes, thread: HostThread | None = None) -> bytes:
        """An ioctl of /dev/sgx_enclave."""


def start_process(process: Agent) -> None:
    """Register what concerns the memory map."""
    registration = process.design.declared.registration
    if registration is not None and not registration.of_thread:
        process.device_ioctl(registration.register, _registered(registration, process), process.control)


def start_thread(process: Agent, thread: HostThread) -> None:
    """Register what concerns the thread: once, as the agent is the only runtime of its process."""
    registration = process.design.declared.registration
    if registration is not None and registration.of_thread:
        process.device_ioctl(registration.register, _registered(registration, process), thread)


def _registered(registration: Registration, process: Agent) -> bytes:
    """The argument of the ioctl."""
    hello, values = process.hello, {}
    for _, name, _ in registration.structure.fields:
        if name == "target":
            values[name] = _near(process, hello["returned"])
        elif name == "length":
            values[name] = hello["enclu_end"] - hello["enclu"]
        else:
            values[name] = {"handler": hello["returned"], "start": hello["enclu"], "flags": 0}[name]
    return registration.structure.pack(**values)


def _near(process: Agent, address: int) -> int:
    """A jump to the address, from within 2 GiB of the vDSO."""
    page = process.arena.allocate(4096, align=4096)
    process.memory.write(page, b"\xff\x25\0\0\0\0" + struct.pack("<Q", address))  # jmp *0(%rip)
    return process.control.syscall(
        "mmap", VDSO_BASE - (1 << 24), 4096, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_FIXED_NOREPLACE,
        process.arena.fd, page - process.arena.address,
    )  # fmt: skip


def handle_signals(process: Agent) -> None:
    """Every design leaves some exceptions signals, #BP and #DB at least."""
    for signo in (signal.SIGSEGV, signal.SIGILL, signal.SIGBUS, signal.SIGFPE, signal.SIGTRAP, INTERRUPT, BREAK):
        flags = SA_SIGINFO | SA_NODEFER | SA_RESTORER | (SA_RESTART if signo != BREAK else 0)
        action = SignalAction(process.hello["on_signal"], flags, process.hello["restorer"], 0).pack()
        with process.memory.own(action) as address:
            process.control.syscall("rt_sigaction", signo, address, 0, 8)
