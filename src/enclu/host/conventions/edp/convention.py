"""The conventions of Fortanix EDP (Rust's target x86_64-fortanix-unknown-sgx).

An entry has five arguments in RDI, RSI, RDX, R8, R9.  The enclave leaves with 0 in RDI at the end, with results in RSI
and RDX, and with a usercall's number otherwise, which the host answers by EENTER with results in RSI and RDX.
fortanix/rust-sgx: doc/FORTANIX-SGX-ABI.md, intel-sgx/enclave-runner-sgx/src/tcs.rs, usercalls/mod.rs.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, BinaryIO

from enclu.host.call import Call
from enclu.host.convention import Convention, Done
from enclu.host.conventions.edp.abi import NORMAL_EXIT, Error
from enclu.host.conventions.edp.program import Program, Running, Stopped
from enclu.host.conventions.edp.streams import Streams
from enclu.host.conventions.edp.usercalls import Usercalls
from enclu.host.errors import EnclaveTimeout, HostError

if TYPE_CHECKING:
    from enclu.host.enclave import Enclave
    from enclu.host.frames import Registers

Argument = str | bytes


class EdpPanic(HostError):
    """The enclave has exited with a failure.  `message` is what a debug build says about it, else empty."""

    def __init__(self, enclave: Enclave, message: str) -> None:
        super().__init__(f"{enclave.image.path}: the enclave panicked{': ' if message else ''}{message}")
        self.message = message


class EdpCall(Call):
    """One thread of a program, or one call of a library."""

    usercalls: Usercalls
    running: Running | None = None
    debug_buffer = 0
    program: Program
    alone = False
    """There is nothing else of the program, which ends with it."""
    message = ""
    """What it said when it panicked."""

    def begin(self, program: Program, tcs: int, running: Running | None = None) -> None:
        """Enter this TCS for the program."""
        self.tcs, self.program = tcs, program
        self.running = running or program.begin(tcs)
        self.running.thread = self.thread
        convention = self.enclave.convention
        assert isinstance(convention, EdpConvention)
        self.usercalls = Usercalls(program, self.running, self.left, convention.launch)
        self.debug_buffer = program.debug_buffers[tcs] = program.debug_buffer()

    def finish(self) -> None:
        if self.running is None:
            return
        self.program.end(self.running)
        if self.alone:
            if self.debug_buffer and self.enclave.process.alive:
                self.message = self.program.message(self.debug_buffer)
            self.program.release()


class EdpConvention(Convention):
    """Programs and libraries that were built with Fortanix EDP.

    `enclave.run(arguments)` runs a program, from its first TCS, to its exit status.  `ecall(p1, p2, p3, p4, p5)` enters
    a library, with any TCS, and returns what it returns: two numbers.

    `ocalls` may have callables for usercalls of the user's own, by number (0x8000_0000 and above), which are called
    with four numbers and return up to two; and for "connect_stream" and "bind_stream", called with the address: they
    return a socket (or, for connect_stream, a file), raise OSError to refuse, or return None for a real connection.
    Asynchronous usercalls are refused, as the ABI allows.

    SGXS files do not say that they are for this ABI: enclu.host.images.edp tells by their layout.
    """

    needs = ("rdi", "rsi", "rdx", "r8", "r9", "r10")

    def __init__(self, enclave: Enclave) -> None:
        super().__init__(enclave)
        self._tcs = list(enclave.tcs)
        self._has_run = False

    # Programs.

    def program(
        self, arguments: Sequence[Argument] = (), *, stdin: BinaryIO | None = None, stdout: BinaryIO | None = None,
        stderr: BinaryIO | None = None, check: bool = False, timeout: float | None = None,
    ) -> int:  # fmt: skip
        """The exit status: 0, or 1 after a panic, whose message goes to `stderr`; with `check`, EdpPanic is raised.

        The first argument is the program's name, by custom.  Raises EnclaveTimeout when the time is over.
        """
        if self._has_run:
            raise HostError(f"{self.enclave.image.path}: a program runs once; load the enclave again")
        self._has_run = True
        program = Program(self.enclave, Streams(stdin, stdout, stderr))
        message = ""
        try:
            array = program.give_arguments([os.fsencode(argument) for argument in arguments])
            with contextlib.suppress(Stopped), EdpCall(self.enclave, timeout) as call:
                call.begin(program, self._tcs[0])
                self._enter(call, rdi=array, rsi=len(arguments))
                error = "the main thread returned, and is to exit by a usercall"
                program.finish(failure=HostError(f"{self.enclave.image.path}: {error}"))
            if self.enclave.process.alive:
                message = next(filter(None, map(program.message, program.debug_buffers.values())), "")
        except BaseException as error:
            program.finish(failure=error)
        finally:
            program.stop_threads()
            self._report(stderr, message)
            program.release()
        if program.failure is not None:
            raise program.failure
        if program.panicked and check:
            raise EdpPanic(self.enclave, message)
        return int(program.panicked)

    def _report(self, stderr: BinaryIO | None, message: str) -> None:
        """A panic's message, where its reader looks for it."""
        if not message:
            return
        if stderr is not None:
            stderr.write(message.encode() + b"\n")
        else:
            print(message, file=sys.stderr)

    def launch(self, program: Program) -> Error:
        """Enter another TCS on a thread of its own."""
        with program.lock:
            tcs = next((t for t in self._tcs[1:] if t in self.enclave.tcs and t not in program.running), None)
            if tcs is None:
                return Error.WOULD_BLOCK
            running = program.begin(tcs)
        threading.Thread(target=self._thread, args=(program, running), daemon=True).start()
        return Error.SUCCESS

    def _thread(self, program: Program, running: Running) -> None:
        try:
            with contextlib.suppress(Stopped), EdpCall(self.enclave, None) as call:
                call.begin(program, running.tcs, running)
                self._enter(call)
        except BaseException as error:
            program.finish(failure=error)
        finally:
            program.end(running)
            if program.ended:
                program.stop_threads()

    # Libraries.

    def ecall(self, *args: int, timeout: float | None = None) -> tuple[int, int]:
        """Up to five numbers.  Raises EdpPanic when the library exits instead of returning."""
        if len(args) > 5:
            raise TypeError("an EDP library takes five numbers")
        names = ("rdi", "rsi", "rdx", "r8", "r9")
        program = Program(self.enclave, Streams(None, None, None))
        result = None
        with contextlib.suppress(Stopped), EdpCall(self.enclave, timeout) as call:
            call.alone = True
            call.begin(program, call.lease(same=False))
            result = self._enter(call, **dict(zip(names, args, strict=False)))
        if program.failure is not None:
            raise program.failure
        if result is None and not program.panicked:
            raise HostError(f"{self.enclave.image.path}: the library exited, and was to return")
        if result is None:
            raise EdpPanic(self.enclave, call.message)
        return result

    # What happens during a call.

    def _enter(self, call: EdpCall, **registers: int) -> tuple[int, int]:
        """The entry from its beginning to its end.  Raises Stopped if the program has ended before."""
        try:
            result: tuple[int, int] | None = self.run(call, **registers, r10=call.debug_buffer)
        except EnclaveTimeout:
            call.program.going()  # it was interrupted because of that
            raise
        if result is None:
            raise Stopped
        return result

    def exited(self, call: Call, registers: Registers) -> None:
        assert isinstance(call, EdpCall)
        if registers.rdi == NORMAL_EXIT:
            raise Done((registers.rsi, registers.rdx))
        results = call.usercalls.serve(registers.rdi, (registers.rsi, registers.rdx, registers.r8, registers.r9))
        call.usercalls.check()
        call.enter(rsi=results[0], rdx=results[1], r10=call.debug_buffer)
