"""POSIX's functions, called in the C library of the process that Python is in.

An enclave uses descriptors that it has got here, and standard input and output, which are Python's; others of the
program's are none for it.  Buffers are as large as the EDL file says: a size beyond them is an EFAULT.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import struct
import sys
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from enclu.base.abi import AT_FDCWD
from enclu.host.conventions.libraries import prototypes
from enclu.host.conventions.libraries.prototypes import DESCRIPTOR, DIRECTORY, LENGTH, ROOM, Prototype
from enclu.host.edl import layout
from enclu.host.edl.types import Types
from enclu.host.errors import HostError

if TYPE_CHECKING:
    from enclu.host.edl.syntax import Ocall, Variable
    from enclu.host.memory import Memory

STDIN, STDOUT, STDERR = range(3)
F_DUPFD, F_DUPFD_CLOEXEC = 0, 1030
MOST_ARGUMENTS = 7
"""recvfrom() would have six, and two of its are one in C."""
_MASK = (1 << 64) - 1
_POLLFD = struct.Struct("<ihh")

Values = dict[str, Any]
"""Arguments by the prototype's names: numbers, and buffers as arrays of characters, None for NULL."""


class Posix:
    """The functions in `prototypes`."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._types = Types(prototypes.interface(), {DESCRIPTOR: ctypes.c_int, DIRECTORY: ctypes.c_int})
        self._opened: set[int] = set()
        self._allocated: set[int] = set()
        self._finish = weakref.finalize(self, _close, self._opened)
        self._instead: dict[str, Callable[[Values], int | None]] = {
            "close": self._close, "write": self._write, "puts": self._puts, "putchar": self._putchar,
            "malloc": lambda values: self._allocate(values["size"]),
            "calloc": lambda values: self._allocate(values["n"] * values["size"]), "free": self._free,
            "poll": self._check_poll,
        }  # fmt: skip
        """What is done without the C library, unless it returns None."""

    def function(self, ocall: Ocall, types: Types) -> Callable[..., Any] | None:
        prototype = prototypes.find(ocall)
        if prototype is None:
            return None
        if prototype.name not in self._instead and not hasattr(self._libc, prototype.name):
            return None
        returns = None if ocall.returns.is_void else types.of(ocall.returns)
        return lambda *arguments: self._serve(prototype, ocall, returns, arguments)

    def close(self) -> None:
        """Descriptors that the enclave has left open."""
        self._finish()
        for address in self._allocated:
            with contextlib.suppress(HostError):
                self._memory.free(address)
        self._allocated.clear()

    def _serve(self, prototype: Prototype, ocall: Ocall, returns: Any, arguments: tuple[Any, ...]) -> Any:
        """Call it; errno goes where the OCALL has a place for it."""
        place = arguments[0] if prototype.errno_first else None
        failed = 0
        try:
            result = self._call(prototype, arguments[prototype.errno_first :])
        except OSError as error:
            if ocall.propagate_errno:
                raise
            failed, result = error.errno or 0, -1
        if place is not None:
            _store(place, failed.to_bytes(4, "little"))
        if returns is not None and issubclass(returns, ctypes._SimpleCData):
            return returns(result).value  # -1 is the largest number, where the result has no sign
        return result

    def _call(self, prototype: Prototype, arguments: tuple[Any, ...]) -> int:
        """Raises OSError."""
        function = prototype.function
        values: Values = {}
        written: list[tuple[Variable, Any]] = []
        numbers = {p.name: a for p, a in zip(function.parameters, arguments, strict=True) if not p.is_pointer}
        for parameter, argument in zip(function.parameters, arguments, strict=True):
            if not parameter.is_pointer:
                self._check_descriptor(parameter.type.name, argument)
                values[parameter.name] = argument
            elif parameter.attributes.user_check:
                values[parameter.name] = argument
            else:
                values[parameter.name] = self._buffer(parameter, argument, numbers)
                if parameter.attributes.out and argument:
                    written.append((parameter, argument))
        if ROOM in values and values[LENGTH] is not None:
            values[LENGTH][:] = (values[ROOM] & 0xFFFF_FFFF).to_bytes(4, "little")
        instead = self._instead.get(prototype.name)
        result = instead(values) if instead else None
        if result is None:
            result = self._in_c(prototype, [value for name, value in values.items() if name != ROOM])
        self._note(prototype, values, result)
        for parameter, argument in written:
            self._give_back(argument, bytes(values[parameter.name]))
        return result

    def _in_c(self, prototype: Prototype, values: list[Any]) -> int:
        function = getattr(self._libc, prototype.name)
        returns = prototype.function.returns
        function.restype = None if returns.is_void else self._types.of(returns)
        passed = [
            ctypes.c_uint64(value & _MASK) if isinstance(value, int) else ctypes.c_void_p(ctypes.addressof(value))
            if value is not None else ctypes.c_void_p(None)
            for value in values
        ]  # fmt: skip
        # Registers for parameters that a shorter form leaves out: they are zero.
        passed += [ctypes.c_uint64(0)] * (MOST_ARGUMENTS - 1 - len(passed))
        ctypes.set_errno(0)
        result: int = function(*passed)
        number = ctypes.get_errno()
        if result == -1 and number:
            raise OSError(number, os.strerror(number))
        return result

    # Buffers.

    def _buffer(self, parameter: Variable, argument: Any, numbers: Values) -> Any:
        """A copy of a buffer, as C takes it."""
        if argument is None or argument == 0:
            return None
        try:
            if parameter.attributes.string:
                text = self._memory.read_string(argument) if isinstance(argument, int) else bytes(argument)
                return ctypes.create_string_buffer(text)
            wanted = layout.length(parameter, self._types, numbers) or 0
            data = self._memory.read(argument, wanted) if isinstance(argument, int) else bytes(argument)
        except (HostError, ValueError) as error:
            raise OSError(errno.EFAULT, str(error)) from None
        if len(data) < wanted:
            raise OSError(errno.EFAULT, f"`{parameter.name}' has {len(data)} bytes, not {wanted}")
        return (ctypes.c_char * max(len(data), 1)).from_buffer_copy(data or b"\0")

    def _give_back(self, argument: Any, data: bytes) -> None:
        if not isinstance(argument, int):
            _store(argument, data)
            return
        try:
            self._memory.write(argument, data)
        except HostError as error:
            raise OSError(errno.EFAULT, str(error)) from None

    # Descriptors.

    def _check_descriptor(self, type_name: str, number: int) -> None:
        if type_name not in (DESCRIPTOR, DIRECTORY) or number in self._opened or STDIN <= number <= STDERR:
            return
        if type_name == DESCRIPTOR or number != AT_FDCWD:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    def _note(self, prototype: Prototype, values: Values, result: int) -> None:
        """Remember descriptors that the enclave has got."""
        duplicated = prototype.name == "fcntl" and values["command"] in (F_DUPFD, F_DUPFD_CLOEXEC)
        if (prototype.function.returns.name == DESCRIPTOR or duplicated) and result >= 0:
            self._opened.add(result)
        if prototype.name in ("pipe", "pipe2"):
            self._opened.update(struct.unpack("<ii", bytes(values["ends"])[:8]))

    def _close(self, values: Values) -> int:
        fd = values["fd"]
        if fd in self._opened:
            self._opened.discard(fd)
            os.close(fd)
        return 0  # standard input and output stay Python's

    def _check_poll(self, values: Values) -> None:
        for fd, _, _ in _POLLFD.iter_unpack(bytes(values["fds"] or b"")[: _POLLFD.size * values["n"]]):
            if fd >= 0:
                self._check_descriptor(DESCRIPTOR, fd)

    # Standard output, which is Python's.

    def _write(self, values: Values) -> int | None:
        if values["fd"] not in (STDOUT, STDERR):
            return None
        return _print(values["fd"], bytes(values["data"] or b"")[: values["count"]])

    def _puts(self, values: Values) -> int:
        return _print(STDOUT, (values["text"].value if values["text"] else b"") + b"\n")

    def _putchar(self, values: Values) -> int:
        _print(STDOUT, bytes([values["character"] & 0xFF]))
        return int(values["character"]) & 0xFF

    # Memory, which is the process's that the enclave is in.

    def _allocate(self, size: int) -> int:
        try:
            address = self._memory.allocate(max(size, 1))
        except HostError:
            return 0
        self._allocated.add(address)
        return address

    def _free(self, values: Values) -> int:
        if values["address"] in self._allocated:
            self._allocated.discard(values["address"])
            self._memory.free(values["address"])
        return 0


def _print(fd: int, data: bytes) -> int:
    stream = sys.stdout if fd == STDOUT else sys.stderr
    stream.write(data.decode("utf-8", "replace"))
    stream.flush()
    return len(data)


def _store(target: Any, data: bytes) -> None:
    """Into a bytearray, or an array or structure of ctypes."""
    size = min(len(data), len(target) if isinstance(target, bytearray) else ctypes.sizeof(target))
    ctypes.memmove((ctypes.c_char * size).from_buffer(target), data, size)


def _close(descriptors: set[int]) -> None:
    for fd in descriptors:
        with contextlib.suppress(OSError):
            os.close(fd)
    descriptors.clear()
