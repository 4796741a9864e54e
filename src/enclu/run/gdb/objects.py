"""What gdb reads whole: descriptions, lists and files of the kernel's (qXfer).

GDB manual, appendix "Remote Protocol", section "General Query Packets".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from enclu.base import console
from enclu.native import proc, ptrace
from enclu.run.gdb import libraries, target
from enclu.run.gdb.libraries import Libraries, quoted
from enclu.run.gdb.packets import PACKET_SIZE, escaped

if TYPE_CHECKING:
    from enclu.run.gdb.debugger import Debugger
    from enclu.run.task import Task

NAMES = ("features", "auxv", "exec-file", "libraries-svr4", "threads", "siginfo")


class Objects:
    """Those of the processes that are debugged."""

    def __init__(self, debugger: Debugger, known: Libraries) -> None:
        self._debugger = debugger
        self._libraries = known
        self._description = target.description(debugger.sup.machine.layout).encode()

    def part(self, request: bytes, task: Task) -> bytes:
        """The answer to what follows qXfer:, about a held thread; empty for what there is not.

        Raises OSError, ValueError.
        """
        what, operation, annex, where = request.split(b":", 3)
        if operation != b"read":
            return b""
        offset, size = (int(part, 16) for part in where.split(b","))
        data = self._object(what, annex, task)
        if data is None:
            return b""
        part = data[offset : offset + min(size, PACKET_SIZE // 2 - 8)]
        return (b"m" if offset + len(part) < len(data) else b"l") + escaped(part)

    def _object(self, what: bytes, annex: bytes, task: Task) -> bytes | None:
        if what == b"features":
            if annex != b"target.xml":
                raise ValueError("there is one description")
            return self._description
        if what == b"threads":
            return self._threads().encode()
        if what == b"exec-file":
            return proc.name_of(int(annex, 16) if annex else task.process.tgid, "exe").encode()
        if what == b"auxv":
            return libraries.auxv(task)
        if what == b"libraries-svr4":
            return self._libraries.xml(task).encode()
        if what == b"siginfo":
            held = self._debugger.held[task]
            if held.info:
                return held.info
            info = ptrace.SigInfo()
            info.get(task.tid)
            return bytes(info)
        return None

    def _threads(self) -> str:
        rows = "".join(
            f'<thread id="p{t.process.tgid:x}.{t.tid:x}" name="{quoted(console.printable(proc.comm(t.tid)))}">'
            f"{quoted(self.described(t))}</thread>"
            for t in self._debugger.tasks()
        )
        return f'<?xml version="1.0"?><threads>{rows}</threads>'

    def described(self, task: Task) -> str:
        """What a list of threads says of one."""
        name = console.printable(proc.comm(task.tid))
        if task.mode.enclave:
            return f"{name}, in enclave {task.mode.eid}, TCS {task.mode.tcs_la:#x}"
        left = self._debugger.witness.left.get(task.tid)
        return f"{name}, AEX from enclave {left[0]}, TCS {left[1]:#x}" if left is not None else name
