"""A trace for Perfetto's user interface: a track of ECALLs and OCALLs for each thread, and counters for each enclave.

The structures are Perfetto's, as its package has them: protos/perfetto/trace/trace_packet.proto and what it imports.
"""

from __future__ import annotations

import importlib
import itertools
import time
from collections.abc import Callable
from typing import Any

from enclu.trace.calls import Calls
from enclu.trace.decoders import Call
from enclu.trace.forms import Missing
from enclu.trace.pages import Pages
from enclu.trace.spool import Happened, Leaves
from enclu.trace.stacks import Change, Stacks
from enclu.trace.text import exception, signal_name

_PROTOS = "perfetto.protos.perfetto.trace.perfetto_trace_pb2"
_SEQUENCE = 1
"""All packets are of one writer."""
_BOOTTIME, _REALTIME = 6, 1
"""BuiltinClock: what Perfetto counts in, and what our times are."""
_PACKET = 1 << 3 | 2
"""Before each packet: field 1 of Trace, of a length that follows."""
_MOST_SLICES = 10_000
"""Packets that are kept for others that are alike."""
_MAX_SIGNED = (1 << 63) - 1


def protos() -> Any:
    """The module of its structures.  Raises Missing."""
    try:
        return importlib.import_module(_PROTOS)
    except ImportError as error:
        raise Missing(f"a trace for Perfetto needs its package: pip install 'enclu[perfetto]' ({error})") from None


class Perfetto:
    """Makes packets."""

    def __init__(self) -> None:
        """Raises Missing."""
        self._protos = protos()
        self._packets: list[bytes] = []
        self._time = self._protos.TracePacket()
        self._slices: dict[tuple[int, int, str, tuple[str | int, ...]], bytes] = {}
        """Packets of slices without their time: most are alike."""
        kinds = self._protos.TrackEvent
        self._begin, self._end = kinds.TYPE_SLICE_BEGIN, kinds.TYPE_SLICE_END
        self._instant, self._counter = kinds.TYPE_INSTANT, kinds.TYPE_COUNTER
        self._uuids = itertools.count(1)
        self._processes: dict[int, int] = {}
        self._threads: dict[int, tuple[int, int]] = {}
        """Tracks of each thread: for calls, and for enclave mode."""
        self._last: dict[int, int] = {}
        """The time of a thread's last event.  Two clocks are compared; what a thread did is in order all the same."""
        self._inside = set[int]()
        """Threads in enclave mode."""
        self._stacks = Stacks()
        self._pages = Pages()
        self._counters: dict[tuple[int, str], int] = {}
        self._start()

    def event(self, happened: Happened, call: Call | None) -> None:
        """One that is wanted."""
        when, pid, tid, name, values = happened
        if name == "process_gone":
            process = self._processes.pop(pid, None)
            if process is not None:
                self._happened(when, process, "process gone", values)
            return
        calls, mode = self._tracks(pid, tid)
        when = self._in_order(tid, when)
        if name == "leaf":
            self._leaf(when, tid, calls, mode, values, call)
            return
        if name == "aex":
            self._leave(when, tid, mode)
        self._happened(when, mode if name == "aex" else calls, _title(name, values), values)
        for eid, counter, value in self._pages.event(name, values):
            self._count(when, eid, counter, value)
        if name in ("thread_gone", "process_exec", "leaves_lost"):
            self._leave(when, tid, mode)
            self._change(when, calls, (self._stacks.gone(tid), None))
            if name != "leaves_lost":
                del self._threads[tid], self._last[tid]
        elif name == "process_exit":
            self._process(pid, self._processes[pid], values["program"])

    def leaves(self, leaves: Leaves, wants: Callable[[str], bool], calls: Calls) -> None:
        """All that are wanted."""
        tid = leaves.tid
        track, mode = self._tracks(leaves.pid, tid)
        for when, _, _, name, values in leaves:
            call = calls.event(name, values)
            if wants(values["leaf"]):
                self._leaf(self._in_order(tid, when), tid, track, mode, values, call)

    @property
    def waiting(self) -> int:
        return len(self._packets)

    def take(self) -> bytes:
        out = b"".join(self._packets)
        self._packets.clear()
        return out

    def last(self) -> bytes:
        return b""

    # Slices.

    def _leaf(self, when: int, tid: int, calls: int, mode: int, values: dict[str, Any], call: Call | None) -> None:
        leaf, eid, tcs = values["leaf"], values["eid"], values["tcs"]
        if leaf in ("EENTER", "ERESUME"):
            if leaf == "EENTER":
                self._change(when, calls, self._stacks.enter(tid, eid, tcs, values["rax"], call, when))
            self._leave(when, tid, mode)
            self._inside.add(tid)
            self._slice(when, mode, self._begin, f"enclave {eid}", ("leaf", leaf, "tcs", tcs))
        elif leaf == "EEXIT":
            self._leave(when, tid, mode)
            self._change(when, calls, self._stacks.exit(tid, eid, tcs, call, when))
        else:
            self._happened(when, mode, leaf, values)

    def _leave(self, when: int, tid: int, mode: int) -> None:
        """A thread is not in enclave mode any more, if it was."""
        if tid in self._inside:
            self._inside.remove(tid)
            self._slice(when, mode, self._end)

    def _change(self, when: int, track: int, change: Change) -> None:
        ended, begun = change
        for _ in ended:
            self._slice(when, track, self._end)
        if begun is not None:
            text = begun.call.text if begun.call is not None else f"entry of {begun.eid}"
            self._slice(when, track, self._begin, text, ("eid", begun.eid, "tcs", begun.tcs))

    def _in_order(self, tid: int, when: int) -> int:
        self._last[tid] = when = max(when, self._last.get(tid, 0))
        return when

    # Packets.

    def _slice(self, when: int, track: int, kind: int, name: str = "", values: tuple[str | int, ...] = ()) -> None:
        """Its begin or end; `values` are names and values in turn.  Fields may come in any order: the time is last."""
        key = track, kind, name, values
        packet = self._slices.get(key)
        if packet is None:
            if len(self._slices) >= _MOST_SLICES:
                self._slices.clear()
            made = self._event(track, kind, name, dict(zip(values[::2], values[1::2], strict=True)))
            packet = self._slices[key] = made.SerializeToString()
        self._time.timestamp = when
        self._put(packet + self._time.SerializeToString())

    def _happened(self, when: int, track: int, name: str, values: dict[str, Any]) -> None:
        """An instant."""
        packet = self._event(track, self._instant, name, values)
        packet.timestamp = when
        self._add(packet)

    def _add(self, packet: Any) -> None:
        self._put(packet.SerializeToString())

    def _put(self, packet: bytes) -> None:
        """Into the file, which is a message of type Trace: as the next element of its field `packet`."""
        size, length = len(packet), bytearray()
        while size > 0x7F:
            length.append(size & 0x7F | 0x80)
            size >>= 7
        self._packets.append(b"%c%b%c%b" % (_PACKET, bytes(length), size, packet))

    def _event(self, track: int, kind: int, name: str, values: dict[Any, Any]) -> Any:
        """A packet without its time."""
        packet = self._new()
        event = packet.track_event
        event.type, event.track_uuid = kind, track
        if name:
            event.name = _plain(name)
        for key, value in values.items():
            annotation = event.debug_annotations.add()
            annotation.name = key
            if isinstance(value, str):
                annotation.string_value = _plain(value)
            elif key in _ADDRESSES:
                annotation.pointer_value = value
            elif value > _MAX_SIGNED:
                annotation.uint_value = value
            else:
                annotation.int_value = value
        return packet

    def _count(self, when: int, eid: int, counter: str, value: int) -> None:
        uuid = self._counters.get((eid, counter))
        if uuid is None:
            uuid = self._counters[eid, counter] = next(self._uuids)
            made = self._new()
            track = made.track_descriptor
            track.uuid, track.name = uuid, f"enclave {eid}: {counter}"
            track.counter.unit = self._protos.CounterDescriptor.UNIT_COUNT
            self._add(made)
        packet = self._new()
        packet.timestamp = when
        event = packet.track_event
        event.type, event.track_uuid, event.counter_value = self._counter, uuid, value
        self._add(packet)

    def _new(self) -> Any:
        packet = self._protos.TracePacket()
        packet.trusted_packet_sequence_id = _SEQUENCE
        packet.sequence_flags = self._protos.TracePacket.SEQ_NEEDS_INCREMENTAL_STATE
        return packet

    def _start(self) -> None:
        """The first packet: times are of CLOCK_REALTIME; and how that and Perfetto's own clock compare."""
        packet = self._new()
        packet.sequence_flags = self._protos.TracePacket.SEQ_INCREMENTAL_STATE_CLEARED
        packet.trace_packet_defaults.timestamp_clock_id = _REALTIME
        self._add(packet)
        packet = self._new()
        snapshot = packet.clock_snapshot
        for clock, now in (_BOOTTIME, time.clock_gettime_ns(time.CLOCK_BOOTTIME)), (_REALTIME, time.time_ns()):
            snapshot.clocks.add(clock_id=clock, timestamp=now)
        self._add(packet)

    # Tracks.

    def _tracks(self, pid: int, tid: int) -> tuple[int, int]:
        found = self._threads.get(tid)
        if found is not None:
            return found
        calls, mode = next(self._uuids), next(self._uuids)
        self._threads[tid] = calls, mode
        if pid and pid not in self._processes:
            self._processes[pid] = next(self._uuids)
            self._process(pid, self._processes[pid])
        packet = self._new()
        track = packet.track_descriptor
        track.uuid = calls
        if pid:
            track.thread.pid, track.thread.tid = pid, tid
        else:
            track.name = "the kernel by itself"
        self._add(packet)
        below = self._new()
        track = below.track_descriptor
        track.uuid, track.parent_uuid, track.name = mode, calls, "enclave mode"
        self._add(below)
        return calls, mode

    def _process(self, pid: int, uuid: int, program: str = "") -> None:
        """A process; its name is known at its end."""
        packet = self._new()
        track = packet.track_descriptor
        track.uuid, track.process.pid = uuid, pid
        if program:
            track.process.process_name = _plain(program)
        self._add(packet)


_TITLES: dict[str, Callable[[dict[str, Any]], str]] = {
    "aex": lambda v: f"AEX {exception(v)}",
    "leaf_refused": lambda v: f"{v['leaf']} -> {v['reason']}",
    "leaf_faulted": lambda v: f"{v['leaf']} -> {exception(v)}",
    "enclave_exception": exception,
    "fault_resolved": lambda v: f"page {v['how']}",
    "fixup": lambda v: f"fixup by {v['design']}: {exception(v)}",
    "exception_signal": lambda v: f"{exception(v)} becomes {signal_name(v)}",
    "signal_sent": lambda v: f"{signal_name(v)} sent",
    "ioctl": lambda v: str(v["ioctl"]),
    "ioctl_refused": lambda v: f"{v['ioctl']} -> {v['errno']}",
    "mapping_refused": lambda v: f"{v['call']} -> {v['errno']}",
    "page_evicted": lambda v: "EWB",
    "page_reloaded": lambda v: "ELDU",
    "page_removed": lambda v: "EREMOVE",
    "page_refused": lambda v: "ELDU refused",
}
"""What instants are called; the user interface counts those of the same name.  Others are called as their kind."""


def _title(name: str, values: dict[str, Any]) -> str:
    title = _TITLES.get(name)
    return title(values) if title is not None else name.replace("_", " ")


def _plain(text: str) -> str:
    """Without what is no character: programs may be called by any bytes."""
    return text.encode(errors="replace").decode()


_ADDRESSES = frozenset(("tcs", "address", "rip", "target", "base", "rdi", "rsi", "rbx", "rcx", "rsp"))
"""Fields that are shown in hexadecimal."""
