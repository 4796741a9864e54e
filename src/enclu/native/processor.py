"""A traced thread as the kernel asks for it: `sgx.processor.SupervisedProcessor`."""

from __future__ import annotations

from collections.abc import Callable

from enclu.native import native_fault, proc, text
from enclu.native.inject import inject
from enclu.native.thread import Thread
from enclu.sgx.processor import Access, Signal


class TracedProcessor(Thread):
    """A thread that can be asked all that the kernel asks of a processor."""

    __slots__ = ()

    @property
    def tgid(self) -> int:
        return self.process.tgid

    def error_code(self) -> int:
        return native_fault.error_code(self)

    def reachable(self, address: int) -> bool:
        return self.space.reachable(address)

    def through_abort_page(self, address: int, meets: Callable[[int, Access], bool]) -> Signal | None:
        from enclu.native import abort_page  # for enclaves alone

        return abort_page.step(self, address, meets)

    def host_call(self, nr: int, *arguments: int | bytes | bytearray) -> int:
        return inject(self, nr, *arguments)

    def text_mapped(self, start: int, length: int, fd: int, offset: int) -> None:
        text.patch_mapping(self, start, length, fd, offset)

    @property
    def personality(self) -> int:
        try:
            return int(proc.text(self.tid, "personality"), 16)
        except PermissionError:  # of a program that hides its memory
            return 0

    def name_of(self, fd: int) -> str:
        return proc.name_of(self.tid, f"fd/{fd}")

    def process_behind(self, pidfd: int) -> int:
        return int(proc.fields(self.tid, f"fdinfo/{pidfd}").get("Pid", "-1"))
