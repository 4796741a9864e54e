"""What the agent does to be told of exceptions, under each delivery design; made of what the design declares."""

from __future__ import annotations

import signal
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

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
from enclu.host.errors import HostError
from enclu.host.thread import BREAK, INTERRUPT
from enclu.linux import delivery
from enclu.linux.delivery.usage import ARGUMENTS, FIELDS, MAX_ARGUMENTS, REGISTERS, OwnEnclu, VdsoFunction
from enclu.linux.vdso import image
from enclu.native.address_space import VDSO_BASE
from enclu.sgx.layout import Structure

if TYPE_CHECKING:
    from enclu.host.process import Process
    from enclu.host.thread import HostThread
    from enclu.linux.delivery.base import Delivery
    from enclu.linux.delivery.usage import Registration

HELLO = Structure(
    "hello", 96,
    (0, "channel_size", "Q"), (8, "enclu", "Q"), (16, "enclu_end", "Q"), (24, "returned", "Q"),
    (32, "on_signal", "Q"), (40, "restorer", "Q"), (48, "way", "48s"),
)  # fmt: skip
"""struct hello of agent/agent.h."""
WAY = Structure(
    "way", 48, (0, "entry", "Q"), (8, "aep", "Q"), (16, "function", "B"), (17, "arguments", f"{MAX_ARGUMENTS}s"),
    *((24 + 4 * i, name, "I") for i, name in enumerate(FIELDS)),
)  # fmt: skip
"""struct way: a field of the function's structure is its offset and, 16 bits above, its size; 0 for none."""
VALUES = ("", *REGISTERS, *ARGUMENTS)
"""enum value: what an argument is."""


@dataclass(frozen=True)
class Design:
    """The agent's side of a design."""

    declared: type[Delivery]

    @property
    def resumes(self) -> bool:
        return self.declared.entry.resumes

    @property
    def registers(self) -> tuple[str, ...]:
        """That an enclave can be entered with."""
        return self.declared.entry.registers

    def way(self) -> bytes:
        """How to enter.  Raises HostError if the vDSO does not have what the design declares."""
        entry = self.declared.entry
        if isinstance(entry, OwnEnclu):
            return WAY.pack()
        vdso = image.load(self.declared.vdso)
        if entry.symbol not in vdso.symbols or not vdso.extable:
            raise HostError(
                f"{self.declared.name}: {self.declared.vdso}.S has no {entry.symbol}, or no ENCLU in an exception table"
            )
        address, aep = VDSO_BASE + vdso.symbols[entry.symbol], VDSO_BASE + vdso.extable[-1][0]
        if not isinstance(entry, VdsoFunction):
            return WAY.pack(entry=address, aep=aep)
        arguments = bytes(VALUES.index(name) for name in entry.arguments)
        fields = {meaning: _place(entry.info, name) for meaning, name in entry.fields.items()}
        return WAY.pack(entry=address, aep=aep, function=1, arguments=arguments, **fields)

    def start_process(self, process: Process) -> None:
        """Register what concerns the memory map."""
        registration = self.declared.registration
        if registration is not None and not registration.of_thread:
            process.device_ioctl(registration.register, _registered(registration, process), process.control)

    def start_thread(self, thread: HostThread) -> None:
        """Register what concerns the thread: once, as the agent is the only runtime of its process."""
        registration = self.declared.registration
        if registration is not None and registration.of_thread:
            thread.process.device_ioctl(registration.register, _registered(registration, thread.process), thread)


def of(choice: str) -> Design:
    """The agent's side of a design, which may have a setting.  Raises KeyError."""
    return Design(delivery.design(choice.partition(":")[0]))


def _place(structure: Structure, name: str) -> int:
    (size,) = (struct.calcsize("<" + code) for _, field, code in structure.fields if field == name)
    return structure.offset(name) | size << 16


def _registered(registration: Registration, process: Process) -> bytes:
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


def _near(process: Process, address: int) -> int:
    """A jump to the address, from within 2 GiB of the vDSO."""
    page = process.arena.allocate(4096, align=4096)
    process.memory.write(page, b"\xff\x25\0\0\0\0" + struct.pack("<Q", address))  # jmp *0(%rip)
    return process.control.syscall(
        "mmap", VDSO_BASE - (1 << 24), 4096, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_FIXED_NOREPLACE,
        process.arena.fd, page - process.arena.address,
    )  # fmt: skip


def handle_signals(process: Process) -> None:
    """Every design leaves some exceptions signals, #BP and #DB at least."""
    for signo in (signal.SIGSEGV, signal.SIGILL, signal.SIGBUS, signal.SIGFPE, signal.SIGTRAP, INTERRUPT, BREAK):
        flags = SA_SIGINFO | SA_NODEFER | SA_RESTORER | (SA_RESTART if signo != BREAK else 0)
        action = struct.pack("<QQQQ", process.hello["on_signal"], flags, process.hello["restorer"], 0)
        with process.memory.own(action) as address:
            process.control.syscall("rt_sigaction", signo, address, 0, 8)
