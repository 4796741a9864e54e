"""gdb's requests, answered: one connection at a time, and what it asks of the threads and memory of the run.

GDB manual, appendix "Remote Protocol", sections "Packets" and "General Query Packets".  All threads stop together, and
the only requests that are answered while they run are those to stop.
"""

from __future__ import annotations

import enum
import errno
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from enclu.native.debug_registers import Access, Watch
from enclu.native.wait import ThreadGone
from enclu.run.gdb import libraries, memory, monitor, objects, packets, target
from enclu.run.gdb.actions import Action
from enclu.run.gdb.debugger import Debugger
from enclu.run.gdb.files import Files
from enclu.run.gdb.objects import Objects
from enclu.run.gdb.packets import INTERRUPT, ConnectionLost, Packets
from enclu.run.gdb.registers import View
from enclu.run.gdb.reports import GDB_SIGNAL, HOST_SIGNAL, UNKNOWN, Exited, NoneRuns, Report

if TYPE_CHECKING:
    from enclu.run.supervisor import Supervisor
    from enclu.run.task import Task

OK, NOT_KNOWN = b"OK", b""
_FEATURES = (
    f"PacketSize={packets.PACKET_SIZE:x}", "QStartNoAckMode+", "multiprocess+", "vContSupported+", "swbreak+",
    "hwbreak+", "fork-events+", "vfork-events+", "exec-events+", "no-resumed+", "QPassSignals+", "QProgramSignals-",
    *(f"qXfer:{name}:read+" for name in objects.NAMES),
)  # fmt: skip
_EXPEDITED = ("rbp", "rsp", "rip")
_LIMIT = packets.PACKET_SIZE // 2 - 16
_ACCESS = {1: Access.EXECUTED, 2: Access.WRITTEN, 4: Access.ACCESSED}
"""By Z's type.  The processor cannot watch reads alone (3)."""


class AtExit(enum.Enum):
    """What becomes of the program when its debugger is gone without a word."""

    CONTINUE = "continue"
    KILL = "kill"


class Refused(Exception):
    """The request cannot be met."""


def _error(number: int) -> bytes:
    return b"E%02x" % (number & 0xFF)


class Server:
    """Listens for debuggers of one run, from its beginning to its end."""

    def __init__(self, supervisor: Supervisor, listener: socket.socket, at_exit: AtExit) -> None:
        self._sup = supervisor
        self._listener = listener
        self._at_exit = at_exit
        self.debugger = supervisor.debugger = Debugger(supervisor, self._announce)
        self._packets: Packets | None = None
        self._waiting = False
        """The debugger waits for a stop."""
        layout = supervisor.machine.layout
        self._registers = target.registers(layout)
        self._numbers = {register.name: number for number, register in enumerate(self._registers)}
        self._current: tuple[int, int] = (0, 0)
        """Process and thread that requests are about."""
        self._views: dict[Task, View] = {}
        self._attached_later = False
        self._last = b""
        self.libraries = libraries.Libraries(supervisor)
        self._objects = Objects(self.debugger, self.libraries)
        self._files = Files()
        self._commands: dict[bytes, Callable[[bytes], bytes | None]] = {
            b"?": self._why, b"g": self._read_registers, b"G": self._write_registers, b"p": self._read_register,
            b"P": self._write_register, b"m": self._read_memory, b"M": self._write_memory, b"X": self._write_binary,
            b"H": self._select, b"T": self._is_alive, b"c": self._continue, b"s": self._step, b"Z": self._insert,
            b"z": self._remove, b"D": self._detach, b"k": self._kill, b"q": self._query, b"Q": self._set,
            b"v": self._verbose,
        }  # fmt: skip

    # Connections.

    def begin(self, pid: int) -> None:
        """Take the debugger that is already there, before the program `pid` executes anything."""
        self._sup.waiter.add(self._listener.fileno(), self._arrived)
        self._accept(self._listener.accept()[0], {pid})

    def end(self) -> None:
        """The run is over."""
        if self._packets is not None:
            self._packets.close()

    def _arrived(self) -> None:
        connection = self._listener.accept()[0]
        if self._packets is not None:
            connection.close()  # one at a time
            return
        self._attached_later = True
        self._accept(connection, {t.process.tgid for t in self._sup.threads.values() if not t.exiting})

    def _accept(self, connection: socket.socket, processes: set[int]) -> None:
        self._packets = Packets(connection)
        self._sup.waiter.add(self._packets.fileno(), self._readable)
        self._current = (0, 0)
        self._waiting = False
        self._views.clear()
        self._last = b""
        self.debugger.attach(processes)

    def _lost(self) -> None:
        """The connection is no more: by the debugger's wish, or without a word."""
        connection, self._packets = self._packets, None
        if connection is None:
            return
        self._sup.waiter.remove(connection.fileno())
        connection.close()
        self._files.close()
        debugger = self.debugger
        if self._at_exit is AtExit.KILL:
            debugger.kill(list(debugger.processes))
        self._views.clear()
        debugger.leave()

    def _readable(self) -> None:
        connection = self._packets
        if connection is None:
            return
        try:
            for packet in connection.receive():
                if packet == INTERRUPT:
                    self.debugger.interrupt()
                else:
                    answer = self._answer(packet)
                    if answer is not None:
                        connection.send(answer)
                    if packet == b"QStartNoAckMode":
                        connection.acknowledged = False
                if self._packets is None:
                    return
        except ConnectionLost:
            self._lost()

    def _answer(self, packet: bytes) -> bytes | None:
        command = self._commands.get(packet[:1])
        if command is None:
            return NOT_KNOWN
        try:
            return command(packet[1:])
        except (Refused, ThreadGone, ValueError, LookupError, OverflowError):
            return _error(errno.EINVAL)
        except OSError as error:
            return _error(error.errno or errno.EIO)

    # Stops.

    def _announce(self) -> None:
        """Something is to be told, if the debugger waits for it."""
        if self._waiting and self._packets is not None and self.debugger.reports:
            self._waiting = False
            report = self.debugger.reports.popleft()
            self._views.clear()
            try:
                if isinstance(report, Report) and report.note:
                    self._packets.console(report.note + "\n")
                self._packets.send(self._stop_reply(report))
            except ConnectionLost:
                self._packets.shut()  # which is found when nobody is at work

    def _stop_reply(self, report: Report | Exited | NoneRuns) -> bytes:
        if isinstance(report, NoneRuns):
            return b"N"
        if isinstance(report, Exited):
            kind, value = ("X", GDB_SIGNAL.get(report.signo, UNKNOWN)) if report.signo else ("W", report.status)
            return f"{kind}{value:02x};process:{report.pid:x}".encode()
        self._current = report.pid, report.tid
        task = self._sup.threads.get(report.tid)
        parts = [f"T{GDB_SIGNAL[report.signo]:02x}"]
        if task is not None and task in self.debugger.held:
            view = self._view(task)
            parts += [
                f"{self._numbers[name]:x}:{view.read(self._registers[self._numbers[name]]).hex()};"
                for name in _EXPEDITED
            ]
        parts.append(f"thread:p{report.pid:x}.{report.tid:x};")
        if report.reason:
            parts.append(report.reason + (";" if ":" in report.reason else ":;"))
        self._last = "".join(parts).encode()
        return self._last

    def _why(self, _: bytes) -> bytes | None:
        debugger = self.debugger
        tasks = debugger.tasks()
        if not tasks:
            return b"W00"
        if not self._last or self._current[1] not in self._sup.threads:
            task = next((t for t in tasks if t in debugger.held), tasks[0])
            return self._stop_reply(Report(task.process.tgid, task.tid, 0 if self._attached_later else 5))
        return self._last

    def _go(self, action_of: Callable[[Task], Action | None]) -> None:
        self._waiting = True
        self._views.clear()
        self.debugger.go(action_of)

    # Threads.

    @property
    def task(self) -> Task:
        """The thread that requests are about, which is held.  Raises Refused."""
        pid, tid = self._current
        held = self.debugger.held
        task = self._sup.threads.get(tid) if tid > 0 else None
        if task is None:
            task = next((t for t in held if pid <= 0 or t.process.tgid == pid), None)
        if task is None or task not in held:
            raise Refused
        return task

    def _view(self, task: Task) -> View:
        view = self._views.get(task)
        if view is None:
            view = self._views[task] = View(task, self.debugger.witness.left.get(task.tid))
        return view

    def view(self) -> View:
        """Of the thread that requests are about.  Raises Refused."""
        return self._view(self.task)

    def _parse(self, text: bytes) -> tuple[int, int]:
        """pPID.TID, pPID or TID; -1 stands for all, 0 for any."""
        if text.startswith(b"p"):
            pid, _, tid = text[1:].partition(b".")
            return _signed(pid), _signed(tid) if tid else -1
        tid_number = _signed(text)
        task = self._sup.threads.get(tid_number)
        return (task.process.tgid if task is not None else tid_number), tid_number

    def _select(self, rest: bytes) -> bytes:
        pid, tid = self._parse(rest[1:])
        if (pid > 0 and pid not in self.debugger.processes) or (tid > 0 and tid not in self._sup.threads):
            raise Refused
        if rest[:1] == b"g":
            self._current = pid, tid
        return OK

    def _is_alive(self, rest: bytes) -> bytes:
        _, tid = self._parse(rest)
        return OK if any(t.tid == tid for t in self.debugger.tasks()) else _error(errno.ESRCH)

    def _continue(self, rest: bytes) -> None:
        self._go(lambda task: Action(HOST_SIGNAL.get(int(rest or b"0", 16), 0)))

    def _step(self, rest: bytes) -> None:
        current = self.task
        self._go(lambda task: Action(step=task is current))

    def _verbose(self, rest: bytes) -> bytes | None:
        if rest == b"Cont?":
            return b"vCont;c;C;s;S;r"
        if rest.startswith(b"Cont;"):
            actions = [self._action(part) for part in rest[5:].split(b";")]

            def action_of(task: Task) -> Action | None:
                return next((action for who, action in actions if _is_meant(task, who)), None)

            self._go(action_of)
            return None
        if rest.startswith(b"File:"):
            return self._files.answer(rest[5:])
        if rest.startswith(b"Kill;"):
            self.debugger.kill([int(rest[5:], 16)])
            return OK
        return NOT_KNOWN

    def _action(self, part: bytes) -> tuple[tuple[int, int], Action]:
        what, _, who = part.partition(b":")
        whom = self._parse(who) if who else (-1, -1)
        kind, argument = what[:1], what[1:]
        if kind in b"cC":
            return whom, Action(_host(argument))
        if kind in b"sS":
            return whom, Action(_host(argument), step=True)
        low, _, high = argument.partition(b",")
        return whom, Action(step=True, low=int(low, 16), high=int(high, 16))

    # Registers.

    def _read_registers(self, _: bytes) -> bytes:
        try:
            view = self.view()
        except Refused:
            return b"x" * (2 * sum(register.size for register in self._registers))
        return b"".join(view.read(register) for register in self._registers).hex().encode()

    def _write_registers(self, rest: bytes) -> bytes:
        view, data, at = self.view(), bytes.fromhex(rest.decode()), 0
        for register in self._registers:
            part = data[at : at + register.size]
            if part != view.read(register):
                view.write(register, part)
            at += register.size
        return OK

    def _read_register(self, rest: bytes) -> bytes:
        number = int(rest, 16)
        if number >= len(self._registers):
            raise Refused
        register = self._registers[number]
        try:
            return self.view().read(register).hex().encode()
        except Refused:
            return b"xx" * register.size

    def _write_register(self, rest: bytes) -> bytes:
        number, _, value = rest.partition(b"=")
        self.view().write(self._registers[int(number, 16)], bytes.fromhex(value.decode()))
        return OK

    # Memory.

    def _read_memory(self, rest: bytes) -> bytes:
        address, size = (int(part, 16) for part in rest.split(b","))
        task = self.task
        return memory.read(task.space, task.mm, address, min(size, _LIMIT)).hex().encode()

    def _write_memory(self, rest: bytes) -> bytes:
        head, _, data = rest.partition(b":")
        return self._store(head, bytes.fromhex(data.decode()))

    def _write_binary(self, rest: bytes) -> bytes:
        head, _, data = rest.partition(b":")
        return self._store(head, packets.plain(data))

    def _store(self, head: bytes, data: bytes) -> bytes:
        address, size = (int(part, 16) for part in head.split(b","))
        if len(data) != size:
            raise Refused
        task = self.task
        memory.write(task.space, task.mm, address, data)
        return OK

    # Breakpoints.

    def _insert(self, rest: bytes) -> bytes:
        kind, address, size = _breakpoint(rest)
        task = self.task
        if kind == 0:
            self.debugger.breakpoints.insert(task, address)
            return OK
        return self._watch(task, kind, address, size, wanted=True)

    def _remove(self, rest: bytes) -> bytes:
        kind, address, size = _breakpoint(rest)
        task = self.task
        if kind == 0:
            self.debugger.breakpoints.remove(task, address)
            return OK
        return self._watch(task, kind, address, size, wanted=False)

    def _watch(self, task: Task, kind: int, address: int, size: int, *, wanted: bool) -> bytes:
        if kind not in _ACCESS:
            return NOT_KNOWN
        watch = Watch(address, _ACCESS[kind], size if kind != 1 else 1)
        if not watch.valid:
            raise Refused
        self.debugger.watches.change(task, watch, wanted=wanted)
        return OK

    # Ends.

    def _detach(self, rest: bytes) -> bytes | None:
        pids = [int(rest[1:], 16)] if rest.startswith(b";") else list(self.debugger.processes)
        for pid in pids:
            self.debugger.detach(pid)
        self._views.clear()
        self._current = (0, 0)
        if not self.debugger.processes and self._packets is not None:
            self._packets.send(OK)
            self._lost()
            return None
        return OK

    def _kill(self, _: bytes) -> None:
        self.debugger.kill(list(self.debugger.processes))
        self._lost()

    # Queries.

    def _set(self, rest: bytes) -> bytes:
        if rest == b"StartNoAckMode":
            return OK
        if rest.startswith(b"PassSignals:"):
            numbers = rest.partition(b":")[2].split(b";")
            self.debugger.wanted.passed = {_host(number) for number in numbers if number} - {0}
            return OK
        return NOT_KNOWN

    def _query(self, rest: bytes) -> bytes:
        name, _, argument = rest.partition(b":")
        if name == b"Supported":
            wanted, asked = self.debugger.wanted, argument.split(b";")
            wanted.fork, wanted.vfork = b"fork-events+" in asked, b"vfork-events+" in asked
            wanted.exec, wanted.no_resumed = b"exec-events+" in asked, b"no-resumed+" in asked
            return ";".join(_FEATURES).encode()
        if rest == b"C":
            task = self.task
            return b"QCp%x.%x" % (task.process.tgid, task.tid)
        if rest == b"fThreadInfo":
            tasks = self.debugger.tasks()
            return b"m" + b",".join(b"p%x.%x" % (t.process.tgid, t.tid) for t in tasks) if tasks else b"l"
        if rest == b"sThreadInfo":
            return b"l"
        if rest.startswith(b"ThreadExtraInfo,"):
            _, tid = self._parse(rest.partition(b",")[2])
            return self._objects.described(self._sup.threads[tid]).encode().hex().encode()
        if name == b"Attached":
            return b"1" if self._attached_later else b"0"
        if name == b"Symbol":
            return OK
        if rest.startswith(b"Rcmd,"):
            command = bytes.fromhex(rest[5:].decode()).decode(errors="replace")
            return monitor.answer(self, command).encode(errors="backslashreplace").hex().encode() or OK
        if name == b"Xfer":
            return self._objects.part(argument, self.task)
        return NOT_KNOWN


def _signed(text: bytes) -> int:
    return -1 if text == b"-1" else int(text, 16)


def _host(text: bytes) -> int:
    return HOST_SIGNAL.get(int(text, 16), 0) if text else 0


def _is_meant(task: Task, who: tuple[int, int]) -> bool:
    pid, tid = who
    return pid in (-1, 0, task.process.tgid) and tid in (-1, 0, task.tid)


def _breakpoint(rest: bytes) -> tuple[int, int, int]:
    kind, address, size = rest.split(b";")[0].split(b",")
    return int(kind), int(address, 16), int(size, 16)
