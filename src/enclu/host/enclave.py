"""An enclave in a process: where it is, its TCSes, its ECALLs."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from enclu.host.errors import HostError, ProcessDied
from enclu.host.events import Action, EnclaveException
from enclu.sgx.structs import Attribute

if TYPE_CHECKING:
    from enclu.host.conventions.base import Convention
    from enclu.host.debugger import Debugger
    from enclu.host.images import Image
    from enclu.host.loader import Loaded
    from enclu.host.process import Process
    from enclu.host.thread import Entry, HostThread


class Enclave:
    """Made by `Process.load`.  A context manager, which unloads it."""

    convention: Convention
    """How ECALLs and OCALLs go; chosen by the image's format unless given."""

    def __init__(
        self, process: Process, image: Image, loaded: Loaded,
        ocalls: Mapping[Any, Callable[..., Any]] | Sequence[Callable[..., Any]],
        on_exception: Callable[[EnclaveException], Action] | None,
    ) -> None:  # fmt: skip
        self.process = process
        self.image = image
        self.base = loaded.base
        """ELRANGE's address."""
        self.size = loaded.size
        self.fd = loaded.fd
        self.attributes = loaded.attributes
        self.xfrm = loaded.xfrm
        self.ocalls = dict(ocalls) if isinstance(ocalls, Mapping) else dict(enumerate(ocalls))
        """Callables by number."""
        self.on_exception = on_exception
        """Called with every EnclaveException, on the Python thread of the ECALL; without one, Action.HANDLE."""
        self.tcs = [self.base + offset for offset in image.tcs]
        """Addresses."""
        self.limit: float | None = None
        """Seconds for calls that have no limit of their own."""
        self.loaded = True
        self._free = list(reversed(self.tcs))
        self._held: dict[HostThread, list[int]] = {}
        """By threads with calls under way: the TCS, once for each call."""
        self._available = threading.Condition()

    @property
    def debug(self) -> bool:
        """Whether ATTRIBUTES.DEBUG is set."""
        return bool(self.attributes & Attribute.DEBUG)

    @functools.cached_property
    def debugger(self) -> Debugger:
        """Its memory and the frames of its SSA, if it is a debug enclave."""
        from enclu.host.debugger import Debugger

        return Debugger(self)

    def ecall(self, function: Any, *args: Any, timeout: float | None = None, **named: Any) -> Any:
        """Make an ECALL, in the way of the convention.

        OCALLs are made on the calling Python thread.  Raises EnclaveException if the enclave has an exception that
        nobody handles; EnclaveTimeout after `timeout` seconds in the enclave, which then is left by an AEX and
        abandoned; whatever an OCALL raised, when the enclave has returned; ProcessDied.
        """
        if not self.loaded:
            raise HostError(f"{self.image.path}: the enclave is unloaded")
        return self.convention.ecall(function, *args, timeout=timeout, **named)

    def run(self, *args: Any, **named: Any) -> int:
        """Run the program that the enclave is, to its exit status: enclaves of Fortanix EDP (EdpConvention.program)."""
        if not self.loaded:
            raise HostError(f"{self.image.path}: the enclave is unloaded")
        return self.convention.program(*args, **named)

    async def ecall_async(self, function: Any, *args: Any, timeout: float | None = None, **named: Any) -> Any:
        """`ecall`, on a thread of its own."""
        return await asyncio.to_thread(self.ecall, function, *args, timeout=timeout, **named)

    @contextlib.contextmanager
    def lease_tcs(self, thread: HostThread, *, same: bool = True) -> Iterator[int]:
        """A TCS for one call: with `same`, that of the thread's call of this enclave under way, if there is one.

        Waits for one that other threads use.  Raises HostError if there is none to wait for.  One whose enclave was
        left interrupted is not used again: `abandon` it.
        """
        with self._available:
            held = self._held.setdefault(thread, [])
            if held and same:
                tcs = held[-1]
            else:
                while not self._free:
                    if not any(calls for user, calls in self._held.items() if user is not thread):
                        raise HostError(f"{self.image.path}: {self._why_no_tcs(held)}")
                    self._available.wait(1)
                tcs = self._free.pop()
            held.append(tcs)
        try:
            yield tcs
        finally:
            with self._available:
                held.pop()
                if tcs not in held:
                    if tcs in self.tcs:
                        self._free.append(tcs)
                    self._available.notify_all()

    @property
    def entries(self) -> list[Entry]:
        """Under way, of any thread and convention."""
        end = self.base + self.size
        threads = list(self.process.threads)
        return [entry for thread in threads for entry in list(thread.entries) if self.base <= entry.tcs < end]

    def abandon(self, tcs: int) -> None:
        """Never enter this TCS again."""
        with contextlib.suppress(ValueError):
            self.tcs.remove(tcs)

    def _why_no_tcs(self, held: list[int]) -> str:
        if held:
            return "every TCS is in use by calls of this thread"
        return "every TCS was left interrupted by an exception or a timeout; load the enclave again"

    def unload(self) -> None:
        """Unmap and close it.  Nothing if unloaded already.  Raises HostError while a call is under way."""
        if not self.loaded:
            return
        if self.entries or any(self._held.values()):
            raise HostError(f"{self.image.path}: a call is under way")
        if self.process.alive:
            with contextlib.suppress(ProcessDied):
                self.convention.stop()
        self.release()

    def release(self) -> None:
        """Unmap and close it, without a word to the enclave."""
        self.loaded = False
        self.process.enclaves.remove(self)
        with contextlib.suppress(ProcessDied):
            if self.process.alive:
                self.process.syscall("munmap", self.base, self.size)
                self.process.syscall("close", self.fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.unload()
