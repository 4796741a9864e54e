"""A hostile host's view of one enclave: its instructions one by one, its registers, checkpoints of it.

For processes of `Machine.process(stepping=True)`.  The ioctls are those of include/enclu_sgx.h; the names are
SGX-Step's where it has one (https://github.com/jovanbulck/sgx-step).
"""

from __future__ import annotations

import errno
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from enclu.host.errors import HostError
from enclu.host.frames import SsaFrame, frame_of
from enclu.host.thread import INTERRUPT
from enclu.linux import uapi
from enclu.sgx.epc import PAGE_SIZE
from enclu.sgx.structs import MISC_EXINFO, TCS

if TYPE_CHECKING:
    from enclu.host.agent_process import AgentProcess
    from enclu.host.events import EnclaveException
    from enclu.host.images import Image
    from enclu.host.loader import Loaded
    from enclu.host.thread import CallUnderWay

ALWAYS = uapi.ENCLU_SGX_STEP_ALWAYS
REGISTERS = tuple(name for _, name, _ in uapi.STEP_REGISTERS.fields[1:])
_BUFFER = 1 << 16
"""Bytes of room for what an ioctl answers."""


class Watcher(Protocol):
    """Who has a say in what a host does with an enclave: `Enclave.watcher`."""

    def enters(self, call: CallUnderWay) -> None:
        """An ECALL, or its way back from an OCALL, is about to be an EENTER to `call.tcs`."""

    def interrupted(self, call: CallUnderWay) -> bool:
        """An interrupt has left the enclave, at `call.entry`; whether it has been resumed.  Else the call is late."""

    def returned(self, call: CallUnderWay, result: Any) -> None:
        """The call is over, with what its convention makes of it; memory that it used is still there."""


class FaultWatcher(Watcher, ABC):
    """One who is told of exceptions, too, and of calls that are given up."""

    @abstractmethod
    def faulted(self, call: CallUnderWay, exception: EnclaveException) -> bool:
        """An exception has left the enclave: whether it has been resumed, so that nobody else hears of it."""

    @abstractmethod
    def gives_up(self, call: CallUnderWay) -> None:
        """The enclave was left before the call was over, and is about to be told to give it up.

        Unless the watcher says that the call is not `unfinished`, as one who brings the enclave back may.
        """


@dataclass(frozen=True)
class Stepped:
    """How far a plan has come."""

    stopped: bool
    """What was planned has happened."""
    executed: int
    """Instructions; a repetition of a string instruction is one."""
    recorded: int
    entries: int
    """EENTERs and ERESUMEs."""
    drawn: int
    """Results of RDRAND, RDSEED, RDTSC and RDTSCP that had not been recorded before."""
    cssa: int
    rip: int
    """This and what follows: in the frame of the SSA that the last AEX has filled; 0 where CSSA is 0."""
    rsp: int
    ursp: int


@dataclass(frozen=True)
class Left:
    """What the enclave left in registers at its last EEXIT."""

    registers: Mapping[str, int]
    """By the names of REGISTERS: `x87` is the abridged tag word, `vectors` the components in use (XSTATE_BV)."""
    xsave: bytes = field(repr=False)
    """The processor's standard-format image."""


class Stepping:
    """Of one enclave: `Enclave.stepping`.  Raises HostError where its process was not started for it."""

    def __init__(self, process: AgentProcess, image: Image, loaded: Loaded) -> None:
        if not process.stepping:
            raise HostError(f"{image.path}: its process cannot step: Machine.process(stepping=True)")
        self._process, self._image, self._loaded = process, image, loaded
        self._request = process.arena.allocate(uapi.STEP_REGISTERS.size * 4)
        self._registers = self._request + uapi.STEP_REGISTERS.size
        self._buffer = process.arena.allocate(_BUFFER)
        process.own_blocks += (self._request, self._buffer)
        self._lock = threading.RLock()
        """Of these blocks: any Python thread may ask."""

    # Plans.

    def arm(
        self, tcs: int, *, until: int = ALWAYS, address: int = 0, times: int = 1, vector: int | None = None,
        error_code: int = 0, free: bool = False, room: int = 0, registers: Mapping[str, int] | None = None,
        stack: tuple[int, bytes] | None = None, clear: int = 0, unnotified: bool = False,
    ) -> None:  # fmt: skip
        """What is to happen on a TCS from the next EENTER or ERESUME on, instead of whatever was.

        After `until` instructions, or before the one at `address` is executed for the `times`-th time, an interrupt
        comes; with `vector`, that exception is raised, which no host can bring about; `free`: nothing happens.
        `room`: addresses of so many instructions are kept for `rips`.  `registers`: what the enclave finds in them at
        the next EENTER, by the names of REGISTERS; an empty one only has those kept that it leaves (`left`).
        `stack`: an address and what is to be there from then on, where the host's own stack is until then;
        before that, `clear` bytes below it are made zero, at each entry.  `unnotified`: the next ERESUME goes on as if
        nothing had interrupted, whatever AEX-Notify asks for.
        """
        then = uapi.ENCLU_SGX_STEP_FREE if free else uapi.ENCLU_SGX_STEP_INTERRUPT
        then = then if vector is None else uapi.ENCLU_SGX_STEP_RAISE
        if min(until, address, times, room, clear, error_code) < 0 or max(until, address, times) > ALWAYS:
            raise HostError(f"{self._image.path}: a plan has numbers of 64 bits, none of them negative")
        until = until if not free or room else 0
        address_of, content = stack or (0, b"")
        with self._process.memory.own(content or 1) as copy, self._lock:
            self._ioctl(
                uapi.ENCLU_SGX_IOC_STEP,
                uapi.STEP.pack(tcs=tcs, until=until, address=address, times=times, then=then, signo=INTERRUPT,
                               vector=vector or 0, error_code=error_code, room=room, entry=self._entry(registers),
                               stack=address_of, stack_from=copy, stack_size=len(content), clear=clear,
                               unnotified=unnotified),
            )  # fmt: skip

    def _entry(self, registers: Mapping[str, int] | None) -> int:
        """Address of the structure that has them; 0 for none."""
        if registers is None:
            return 0
        unknown = registers.keys() - set(REGISTERS)
        if unknown:
            raise HostError(f"no register is called {', '.join(sorted(unknown))}: {', '.join(REGISTERS)}")
        which = sum(1 << REGISTERS.index(name) for name in registers)
        values = {name: value & (1 << 64) - 1 for name, value in registers.items()}
        self._process.memory.write(self._registers, uapi.STEP_REGISTERS.pack(which=which, **values))
        return self._registers

    def disarm(self, tcs: int) -> None:
        """Nothing is to happen there."""
        self.arm(tcs, free=True)

    def state(self, tcs: int) -> Stepped:
        """How far the plan of a TCS has come."""
        return _state(self._stepped(tcs=tcs))

    def rips(self, tcs: int) -> list[int]:
        """Addresses of the instructions that were executed, the first `room` of them."""
        return self.told(tcs, self.state(tcs).recorded)[1]

    def told(self, tcs: int, most: int) -> tuple[Stepped, list[int]]:
        """`state`, and the first `rips`, `most` of them at most."""
        if 8 * most > _BUFFER:
            with self._process.memory.own(8 * most) as buffer:
                return self._told(tcs, most, buffer)
        with self._lock:
            return self._told(tcs, most, self._buffer)

    def _told(self, tcs: int, most: int, buffer: int) -> tuple[Stepped, list[int]]:
        state = _state(self._stepped(tcs=tcs, record=buffer, recorded=most))
        data = self._process.memory.read(buffer, 8 * min(most, state.recorded))
        return state, list(memoryview(data).cast("Q"))

    def left(self, tcs: int) -> Left | None:
        """What the enclave left in registers at its last EEXIT, if the plan was made with `registers`."""
        half = uapi.STEP_REGISTERS.size
        with self._lock:
            f = uapi.STEPPED.unpack(
                self._stepped(tcs=tcs, left=self._buffer, xsave=self._buffer + half, xsave_size=_BUFFER - half)
            )
            if not f["has_left"]:
                return None
            memory = self._process.memory
            registers = uapi.STEP_REGISTERS.unpack(memory.read(self._buffer, half))
            del registers["which"]
            return Left(registers, memory.read(self._buffer + half, f["xsave_size"]))

    def _stepped(self, **fields: int) -> bytes:
        return self._ioctl(uapi.ENCLU_SGX_IOC_STEPPED, uapi.STEPPED.pack(**fields))

    # Checkpoints.

    def checkpoint(self, number: int = 0) -> int:
        """Keep the enclave as it is, interrupted threads included; how many pages it has.

        There may be several, of different numbers.
        """
        return self._checkpoint(uapi.ENCLU_SGX_CHECKPOINT_TAKE, number)

    def move(self, number: int = 0) -> int:
        """Bring the checkpoint up to date; how many pages had changed."""
        return self._checkpoint(uapi.ENCLU_SGX_CHECKPOINT_MOVE, number)

    def restore(self, number: int = 0) -> int:
        """Have the enclave be as it was at the checkpoint; how many pages had changed."""
        return self._checkpoint(uapi.ENCLU_SGX_CHECKPOINT_RESTORE, number)

    def drop(self, number: int = 0) -> None:
        """Keep no checkpoint."""
        self._checkpoint(uapi.ENCLU_SGX_CHECKPOINT_DROP, number)

    def _checkpoint(self, action: int, number: int) -> int:
        request = uapi.CHECKPOINT.pack(address=self._loaded.base + self._image.tcs[0], action=action, number=number)
        pages: int = uapi.CHECKPOINT.unpack(self._ioctl(uapi.ENCLU_SGX_IOC_CHECKPOINT, request))["pages"]
        return pages

    # What is inside: for who judges an attack.

    def read(self, address: int, length: int) -> bytes:
        """The enclave's memory, debug or not.  Raises HostError where there is none."""
        memory = self._process.memory
        with memory.own(length) as buffer:
            request = uapi.INSIDE.pack(address=address, buffer=buffer, length=length)
            self._ioctl(uapi.ENCLU_SGX_IOC_INSIDE, request)
            return memory.read(buffer, length)

    def tcs(self, tcs: int) -> dict[str, int]:
        """The fields of a TCS, as the SDM spells them."""
        fields: dict[str, int] = TCS.unpack(self.read(tcs, TCS.size))
        return fields

    def ssa(self, tcs: int, index: int | None = None) -> SsaFrame:
        """A frame of the TCS's SSA: the one that the last AEX filled, or the one with this index.

        Raises HostError if there is none.
        """
        image, fields = self._image, self.tcs(tcs)
        index = fields["CSSA"] - 1 if index is None else index
        if not 0 <= index < fields["NSSA"]:
            raise HostError(f"{image.path}: no AEX has left the TCS at {tcs:#x}, its CSSA is {fields['CSSA']}")
        size = image.ssa_frame_size * PAGE_SIZE
        address = self._loaded.base + fields["OSSA"] + index * size
        exinfo = bool(image.misc_select & MISC_EXINFO)
        return frame_of(address, self.read(address, size), index, self._loaded.xfrm, exinfo=exinfo)

    # Pages.

    def own_pages(self) -> frozenset[int]:
        """Addresses of the pages without which there is no EENTER and no AEX: TCSes, and frames of their SSAs."""
        pages: set[int] = set()
        for offset in self._image.tcs:
            address = self._loaded.base + offset
            fields = self.tcs(address)
            first = self._loaded.base + fields["OSSA"]
            frames = range(first, first + fields["NSSA"] * self._image.ssa_frame_size * PAGE_SIZE, PAGE_SIZE)
            pages |= {address, *frames}
        return frozenset(pages)

    def withdraw(self, address: int) -> None:
        """Take the page away: whoever touches it has a #PF, by which its host learns that."""
        self._protect(address, 0)

    def grant(self, address: int, prot: int | None = None) -> None:
        """Give it back, with PROT_* as the image has the page unless given."""
        self._protect(address, self._image.protection(address - self._loaded.base) if prot is None else prot)

    def _protect(self, address: int, prot: int) -> None:
        try:
            self._process.syscall("mprotect", address & -PAGE_SIZE, PAGE_SIZE, prot)
        except OSError as error:
            raise HostError(f"{self._image.path}: the page at {address:#x}: {error.strerror}") from None

    def _ioctl(self, command: int, request: bytes) -> bytes:
        process = self._process
        with self._lock:
            process.memory.write(self._request, request)
            try:
                process.thread().syscall("ioctl", self._loaded.fd, command, self._request)
            except OSError as error:
                raise HostError(
                    f"{self._image.path}: {uapi.ioctl_name(command)}: {_WHY.get(error.errno or 0, '')}"
                    f"{os.strerror(error.errno or 0)}"
                ) from None
            return process.memory.read(self._request, len(request))


def _state(answer: bytes) -> Stepped:
    f = uapi.STEPPED.unpack(answer)
    del f["tcs"], f["record"], f["left"], f["xsave"], f["xsave_size"], f["has_left"]
    return Stepped(**{**f, "stopped": bool(f["stopped"])})


_WHY = {errno.EBUSY: "a thread is in the enclave: ", errno.ENOENT: "nothing is kept there: "}
