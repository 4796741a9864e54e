"""What Perfetto's trace processor asks of a file, as its protos say it: protos/perfetto/trace/trace_packet.proto,
clock_snapshot.proto and track_event/*.proto.  It drops what breaks these rules, and counts it, without a word.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf.unknown_fields import UnknownFieldSet  # type: ignore[import-untyped]
from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace, TracePacket, TrackEvent

BEGIN, END = TrackEvent.TYPE_SLICE_BEGIN, TrackEvent.TYPE_SLICE_END
INSTANT, COUNTER = TrackEvent.TYPE_INSTANT, TrackEvent.TYPE_COUNTER
BOOTTIME = 6


def broken(content: bytes) -> list[str]:
    """Which rules packets break."""
    trace = Trace()
    trace.ParseFromString(content)
    rules = _Rules()
    return [f"packet {n}: {problem}" for n, packet in enumerate(trace.packet) for problem in rules.packet(packet)]


class _Rules:
    def __init__(self) -> None:
        self._clocks: dict[int, int] = {}
        """The default clock of each sequence whose state has been cleared."""
        self._known_clocks = set[int]()
        self._tracks: dict[int, str] = {}
        self._processes, self._threads = set[int](), set[int]()
        self._open: dict[int, int] = {}
        self._last: dict[int, int] = {}

    def packet(self, packet: TracePacket) -> Iterator[str]:
        yield from (f"{where} is no field" for where in unknown(packet))
        sequence = packet.trusted_packet_sequence_id
        if not sequence:
            yield "is of no sequence"
        if packet.sequence_flags & TracePacket.SEQ_INCREMENTAL_STATE_CLEARED:
            self._clocks[sequence] = packet.trace_packet_defaults.timestamp_clock_id
        elif sequence not in self._clocks:
            yield "comes before the state of its sequence"
        if packet.HasField("interned_data"):
            yield "interns data, of which these rules know nothing"
        if packet.HasField("clock_snapshot"):
            clocks = [clock.clock_id for clock in packet.clock_snapshot.clocks]
            if len(set(clocks)) != len(clocks) or BOOTTIME not in clocks:
                yield f"compares the clocks {clocks}"
            self._known_clocks |= set(clocks)
        if packet.HasField("track_descriptor"):
            yield from self._descriptor(packet.track_descriptor)
        if packet.HasField("track_event"):
            if not packet.HasField("timestamp"):
                yield "has no time"
            clock = packet.timestamp_clock_id or self._clocks.get(sequence) or BOOTTIME
            if clock not in self._known_clocks:
                yield f"is by clock {clock}, which no snapshot compares"
            yield from self._event(packet.track_event, packet.timestamp)

    def _descriptor(self, track: Any) -> Iterator[str]:
        kinds = [kind for kind in ("process", "thread", "counter") if track.HasField(kind)]
        kind = kinds[0] if kinds else "slices"
        if not track.uuid or len(kinds) > 1:
            yield f"describes a track {track.uuid} of {kinds}"
        if self._tracks.setdefault(track.uuid, kind) != kind:
            yield f"makes track {track.uuid} another"
        if track.parent_uuid and track.parent_uuid not in self._tracks:
            yield f"is below a track {track.parent_uuid} that is described later"
        if kind == "process":
            self._processes.add(track.process.pid)
        elif kind == "thread":
            if track.thread.pid not in self._processes or not track.thread.tid:
                yield f"describes a thread {track.thread.tid} of no process"
        elif not track.name:
            yield f"describes a track {track.uuid} without a name"

    def _event(self, event: Any, when: int) -> Iterator[str]:
        uuid, kind = event.track_uuid, self._tracks.get(event.track_uuid)
        if kind is None:
            yield f"is of a track {uuid} that is described later"
        if event.name_iid or event.category_iids:
            yield "has a name that is interned nowhere"
        if when < self._last.get(uuid, 0):
            yield f"is before the last one of track {uuid}"
        self._last[uuid] = when
        if (event.type == COUNTER) != (kind == "counter"):
            yield f"is of type {event.type} on a track of {kind}"
        if event.type == COUNTER and event.WhichOneof("counter_value_field") is None:
            yield "counts nothing"
        if event.type in (BEGIN, INSTANT) and not event.name:
            yield "has no name"
        self._open[uuid] = self._open.get(uuid, 0) + {BEGIN: 1, END: -1}.get(event.type, 0)
        if self._open[uuid] < 0:
            yield f"ends what has not begun on track {uuid}"
        yield from (f"has a note without {what}" for note in event.debug_annotations for what in _lacks(note))


def _lacks(note: Any) -> Iterator[str]:
    if not note.name:
        yield "a name"
    if note.WhichOneof("value") is None:
        yield "a value"


def unknown(message: Any, where: str = "") -> Iterator[str]:
    """Fields that the protos do not have, at any depth."""
    yield from (f"{where}{field.field_number}" for field in UnknownFieldSet(message))
    for field, value in message.ListFields():
        if field.message_type is not None:
            for each in value if hasattr(value, "add") else (value,):
                yield from unknown(each, f"{where}{field.name}.")
