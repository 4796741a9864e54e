"""The agent: a process under the same supervisor as `enclu run`, and what is asked of it."""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

from enclu.base.abi import NR
from enclu.host import designs, forks, registration
from enclu.host.arena import SIZE, Arena
from enclu.host.channel import TURN_AGENT, Channel, ChannelStruct, Command
from enclu.host.errors import HostError, ProcessDied
from enclu.host.memory import Elrange, Memory
from enclu.host.pool import Lease, Pool
from enclu.host.thread import INTERRUPT, STACK, HostThread
from enclu.linux import delivery as deliveries

AGENT = Path(__file__).with_name("agent") / "agent"
_syscall = ctypes.CDLL(None, use_errno=True).syscall


class AgentProcess:
    """What a process is without its enclaves.  A context manager: at its end the process ends."""

    enclaves: Sequence[Elrange] = ()
    """Whose memory is not the process's."""
    stepping = False
    """Its enclaves can be stepped through."""

    def __init__(self, delivery: str, options: list[str], pass_fds: tuple[int, ...]) -> None:
        if delivery not in deliveries.choices():
            raise HostError(f"no delivery design is called {delivery!r}: {', '.join(deliveries.choices())}")
        if not AGENT.exists():
            raise HostError(f"{AGENT} is missing: install enclu with pip, or run hatch_build.py")
        self.delivery = delivery
        self.design = designs.chosen(delivery)
        way = self.design.way()
        self.arena = Arena()
        self.closed = False
        self._owner = forks.generation()
        self._of_python_thread = threading.local()
        self.threads: list[HostThread] = []
        """All of them, also those that nobody uses at the moment."""
        self._channels: list[Channel] = []
        self.own_blocks: list[int] = []
        """Of the arena: what serves the agent itself, and no enclave looks at."""
        self._end_pool: Callable[[], object] | None = None
        lifeline, self._lifeline = os.pipe()
        channel, stack = self._new_channel()
        numbers = (
            self.arena.fd, lifeline, self.arena.address, SIZE,
            channel.address - self.arena.address, stack - self.arena.address,
        )  # fmt: skip
        command = [sys.executable, "-m", "enclu.cli.main", "run", "--delivery", delivery, *options, "--", str(AGENT)]
        channel.struct.turn = TURN_AGENT
        designs.HELLO.put(memoryview(self.arena.map), "way", way)
        with Path(os.devnull).open() as nothing:  # Popen's own would stay open as long as the process is known
            self._popen = subprocess.Popen(
                [*command, *map(str, numbers)], stdin=nothing, process_group=0,
                pass_fds=(self.arena.fd, lifeline, *pass_fds),
            )  # fmt: skip
        self.pid = self._popen.pid
        os.close(lifeline)
        self.memory = Memory(self)
        self._end = weakref.finalize(self, _end, os.getpid(), self._popen, self._lifeline, self.arena)
        forks.close_in_children(self, self._lifeline, self.arena.fd)
        try:
            channel.await_turn()
            self.hello: dict[str, Any] = designs.HELLO.unpack(self.memory.read(self.arena.address, designs.HELLO.size))
            if self.hello["channel_size"] != ctypes.sizeof(ChannelStruct):
                raise HostError(f"{AGENT} is of another version: install enclu anew, or run hatch_build.py")
            self.control = HostThread(self, channel, stack)
            """Starts the process and its other threads."""
            self.device = self._open(self.control, "/dev/sgx_enclave")
            registration.start_process(self)
            registration.handle_signals(self)
            registration.start_thread(self, self.control)
            self._pool = Pool(functools.partial(_new_thread, weakref.ref(self)))
            self._end_pool = weakref.finalize(self, self._pool.close)
        except BaseException:
            self.close()
            raise

    # Its life.

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return not self.closed and self._owner == forks.generation() and self._popen.poll() is None

    def check(self) -> None:
        """Raises HostError in a child of fork(2), whose parent has the process; ProcessDied when it is closed."""
        if self._owner != forks.generation():
            raise HostError(
                f"process {self.pid} with enclaves belongs to the process that started it, "
                "of which this one is a fork: start one of its own here"
            )
        if self.closed:
            raise ProcessDied("the process with the enclaves has been closed")

    def close(self) -> None:
        """End the process and whatever its threads are doing.  Nothing if closed already."""
        self.closed = True
        forks.forget(self)
        self._end()
        if self._end_pool is not None:
            self._end_pool()
        for channel in self._channels:
            channel.close()
        self.arena.unmap()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _died(self) -> str | None:
        """How it ended; None while it lives."""
        status = self._popen.poll()
        if status is None:
            return None
        if self.closed:
            return "the process with the enclaves has been closed"
        if status < 0:
            return f"the process with the enclaves was killed by {signal.Signals(-status).name}"
        return f"the process with the enclaves ended with status {status}"

    # Threads.

    def thread(self) -> HostThread:
        """The calling Python thread's own.  When that ends, another gets it.

        In a signal's handler that has broken into a command, one more.  Raises ProcessDied, HostError.
        """
        self.check()
        lease: Lease | None = getattr(self._of_python_thread, "lease", None)
        if lease is None:
            lease = self._of_python_thread.lease = Lease(self._pool)
        thread = lease.thread()
        if self.memory.lent:
            self.memory.tidy()
        return thread

    def broken(self) -> HostThread | None:
        """A thread of the calling one's that still does what nobody waits for any more."""
        lease: Lease | None = getattr(self._of_python_thread, "lease", None)
        return None if lease is None else lease.broken()

    def interrupt(self, thread: HostThread, signo: int = INTERRUPT) -> None:
        """Have an enclave that the thread executes left by an AEX.  May be called from any Python thread."""
        if self.alive and _syscall(NR["tgkill"], self.pid, thread.tid, signo):
            code = ctypes.get_errno()
            if code != errno.ESRCH:
                raise OSError(code, f"tgkill: {os.strerror(code)}")

    def _new_channel(self) -> tuple[Channel, int]:
        address = self.arena.allocate(ctypes.sizeof(ChannelStruct), align=4096)
        self._channels.append(Channel(self.arena, address, self._died))
        stack = self.arena.allocate(STACK, align=4096)
        self.own_blocks += (address, stack)
        return self._channels[-1], stack + STACK

    # System calls.

    def syscall(self, name: str | int, *args: int) -> int:
        """Make a system call in the process, on the calling thread's own thread there.  As HostThread.syscall."""
        return self.thread().syscall(name, *args)

    def cpuid(self, leaf: int, subleaf: int = 0) -> tuple[int, int, int, int]:
        """EAX, EBX, ECX and EDX of CPUID, as programs on the machine see them.  Raises ProcessDied."""
        a, b, c, d, _ = self._cpuid(leaf, subleaf)
        return a, b, c, d

    @property
    def xcr0(self) -> int:
        """XCR0, by XGETBV."""
        return self._cpuid(0, 0)[4]

    def _cpuid(self, leaf: int, subleaf: int) -> list[int]:
        thread = self.thread()
        return thread.command(
            Command.CPUID, (leaf, subleaf), None, None, lambda: list(thread.channel.struct.args[:5])
        )  # fmt: skip

    def open(self, path: str) -> int:
        """open(2) for reading and writing; the descriptor is the process's.  Raises OSError."""
        return self._open(self.thread(), path)

    def _open(self, thread: HostThread, path: str) -> int:
        with self.memory.own(os.fsencode(path) + b"\0") as address:
            return thread.syscall("openat", -100, address, os.O_RDWR | os.O_CLOEXEC)

    def device_ioctl(self, command: int, arguments: bytes, thread: HostThread | None = None) -> bytes:
        """An ioctl of /dev/sgx_enclave, of a thread if need be; the structure afterwards.  Raises OSError."""
        return self.ioctl(self.device, command, arguments, thread)

    def ioctl(self, fd: int, command: int, arguments: bytes, thread: HostThread | None = None) -> bytes:
        """ioctl(2) with a structure, which is returned as it is afterwards.  Raises OSError."""
        with self.memory.own(arguments) as address:
            (thread or self.thread()).syscall("ioctl", fd, command, address)
            return self.memory.read(address, len(arguments))


def _new_thread(of: weakref.ref[AgentProcess]) -> HostThread:
    """One more thread of the agent.  Raises HostError, ProcessDied."""
    process = of()
    if process is None:
        raise ProcessDied("the process with the enclaves is gone")
    channel, stack = process._new_channel()
    channel.struct.turn = TURN_AGENT
    result = process.control.do(Command.SPAWN, channel.address, stack)
    if result < 0:
        raise HostError(f"cannot start a thread in the process: {os.strerror(-result)}")
    channel.await_turn()
    thread = HostThread(process, channel, stack)
    process.threads.append(thread)
    registration.start_thread(process, thread)
    return thread


def _end(owner: int, process: subprocess.Popen[bytes], lifeline: int, arena: Arena) -> None:
    if os.getpid() != owner:
        return  # a child of fork(2), at its end
    os.close(lifeline)
    process.kill()
    process.wait()
    arena.close()
