"""A trace for Perfetto, read back by its own package."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace, TracePacket, TrackEvent

from enclu.base.events import TABLE, Event, Leaf
from enclu.trace import perfetto
from enclu.trace.decoders import Call, Kind
from enclu.trace.forms import Missing
from enclu.trace.perfetto import Perfetto
from enclu.trace.spool import Happened
from tests.support.perfetto_rules import broken

TCS = 0x7000


def leaf(name: str, time: int = 0, tid: int = 2, tcs: int = TCS, eid: int = 1) -> Happened:
    values = {"eid": eid, "leaf": name, "tcs": tcs, "rax": 0, "rdi": 1, "rsi": 2, "rbx": 3, "rcx": 4, "rsp": 5}
    return Happened(time, 1, tid, "leaf", values)


def packets(form: Perfetto) -> list[TracePacket]:
    trace = Trace()
    trace.ParseFromString(form.take())
    return list(trace.packet)


def shown(form: Perfetto) -> list[tuple[str, str, str]]:
    """Track, type and name of each event."""
    names, out = dict[int, str](), list[tuple[str, str, str]]()
    for packet in packets(form):
        if packet.HasField("track_descriptor"):
            track = packet.track_descriptor
            names[track.uuid] = track.name or ("thread" if track.HasField("thread") else "process")
        elif packet.HasField("track_event"):
            event = packet.track_event
            out.append((names[event.track_uuid], TrackEvent.Type.Name(event.type).removeprefix("TYPE_"), event.name))
    return out


def noted(packet: TracePacket) -> dict[str, Any]:
    return {note.name: getattr(note, note.WhichOneof("value")) for note in packet.track_event.debug_annotations}


def test_a_call_is_a_slice_around_its_ocall() -> None:
    form = Perfetto()
    form.event(leaf("EENTER"), Call(Kind.ECALL, 3, "work"))
    form.event(leaf("EEXIT"), Call(Kind.OCALL, 7))
    form.event(leaf("EENTER"), Call(Kind.OCALL_RETURN))
    form.event(leaf("EEXIT"), Call(Kind.ECALL_RETURN))
    assert shown(form) == [
        ("thread", "SLICE_BEGIN", "ECALL 3 work"),
        ("enclave mode", "SLICE_BEGIN", "enclave 1"),
        ("enclave mode", "SLICE_END", ""),
        ("thread", "SLICE_BEGIN", "OCALL 7"),
        ("thread", "SLICE_END", ""),
        ("enclave mode", "SLICE_BEGIN", "enclave 1"),
        ("enclave mode", "SLICE_END", ""),
        ("thread", "SLICE_END", ""),
    ]


def test_enclave_mode_ends_by_an_aex_and_the_call_goes_on() -> None:
    form = Perfetto()
    form.event(leaf("EENTER"), None)
    form.event(Happened(0, 1, 2, "aex", {"eid": 1, "tcs": TCS, "vector": 14, "rip": 0x8000}), None)
    form.event(leaf("ERESUME"), None)
    assert shown(form) == [
        ("thread", "SLICE_BEGIN", "entry of 1"),
        ("enclave mode", "SLICE_BEGIN", "enclave 1"),
        ("enclave mode", "SLICE_END", ""),
        ("enclave mode", "INSTANT", "AEX #PF"),
        ("enclave mode", "SLICE_BEGIN", "enclave 1"),
    ]


def test_what_is_open_ends_with_its_thread() -> None:
    form = Perfetto()
    form.event(leaf("EENTER"), None)
    form.event(Happened(0, 1, 2, "thread_gone", {}), None)
    assert [kind for _, kind, _ in shown(form)].count("SLICE_END") == 2


def test_times_of_a_thread_do_not_go_back() -> None:
    form = Perfetto()
    for time, name in (100, "EENTER"), (90, "EEXIT"), (95, "EENTER"), (120, "EEXIT"):
        form.event(leaf(name, time), None)
    times = [packet.timestamp for packet in packets(form) if packet.HasField("track_event")]
    assert times == sorted(times) and times[0] == 100 and times[-1] == 120


def test_threads_do_not_wait_for_each_other() -> None:
    form = Perfetto()
    form.event(leaf("EENTER", 100, tid=2), None)
    form.event(leaf("EENTER", 50, tid=3, tcs=0x9000), None)
    assert {packet.timestamp for packet in packets(form) if packet.HasField("track_event")} == {100, 50}


def test_a_refusal_has_its_reason() -> None:
    form = Perfetto()
    values = {"eid": 1, "ioctl": "SGX_IOC_ENCLAVE_INIT", "errno": "EPERM", "reason": "the signature is wrong"}
    form.event(Happened(0, 1, 2, "ioctl_refused", values), None)
    *_, packet = packets(form)
    assert packet.track_event.name == "SGX_IOC_ENCLAVE_INIT -> EPERM" and noted(packet) == values


def test_counters_follow_the_pages() -> None:
    form = Perfetto()
    form.event(Happened(0, 1, 2, "enclave_initialised", {"eid": 4, "mrenclave": "", "mrsigner": "", "pages": 10}), None)
    form.event(Happened(1, 0, 0, "page_evicted", {"eid": 4, "address": 0x1000}), None)
    form.event(Happened(2, 0, 0, "page_evicted", {"eid": 4, "address": 0x2000}), None)
    form.event(Happened(3, 1, 2, "page_reloaded", {"eid": 4, "address": 0x1000}), None)
    form.event(Happened(4, 1, 2, "fault_resolved", {"eid": 4, "address": 0x3000, "how": "augmented"}), None)
    form.event(Happened(5, 1, 2, "page_removed", {"eid": 4, "address": 0x3000}), None)
    form.event(Happened(6, 1, 2, "enclave_removed", {"eid": 4}), None)
    names, values = dict[int, str](), dict[str, list[int]]()
    for packet in packets(form):
        if packet.track_descriptor.HasField("counter"):
            names[packet.track_descriptor.uuid] = packet.track_descriptor.name
        if packet.track_event.type == TrackEvent.TYPE_COUNTER:
            values.setdefault(names[packet.track_event.track_uuid], []).append(packet.track_event.counter_value)
    assert values == {
        "enclave 4: EPC pages": [10, 9, 8, 9, 10, 9, 0],
        "enclave 4: evictions": [1, 2],
        "enclave 4: reloads": [1],
    }


@pytest.mark.parametrize("kind", [kind for kind in TABLE if kind is not Leaf], ids=lambda kind: str(kind.name()))
def test_every_kind_is_there_with_its_fields(kind: type[Event]) -> None:
    values = {
        field.name: 6 if field.type == "int" else "a\udcffb"
        for field in kind.fields()
        if field.name not in ("pid", "tid")
    }
    form = Perfetto()
    form.event(leaf("EDECCSSA"), None)
    form.event(Happened(0, 1, 2, kind.name(), values), None)
    found = [noted(packet) for packet in packets(form) if packet.HasField("track_event")]
    assert {name: "a?b" if value == "a\udcffb" else value for name, value in values.items()} in found[1:]


def test_its_package_is_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perfetto, "_PROTOS", "no_such_package.protos")
    with pytest.raises(Missing, match=r"pip install 'enclu\[perfetto\]'"):
        Perfetto()


def test_slices_end_where_leaves_are_missing() -> None:
    form = Perfetto()
    form.event(leaf("EENTER"), None)
    form.event(Happened(0, 1, 2, "leaves_lost", {"count": 3}), None)
    form.event(leaf("EEXIT"), None)
    form.event(leaf("EENTER"), None)
    kinds = [kind for _, kind, _ in shown(form)]
    assert kinds == ["SLICE_BEGIN", "SLICE_BEGIN", "INSTANT", "SLICE_END", "SLICE_END", "SLICE_BEGIN", "SLICE_BEGIN"]


def test_long_names_and_many_kinds_of_slices_are_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perfetto, "_MOST_SLICES", 3)
    form = Perfetto()
    names = ["x" * 50 * number for number in range(1, 500, 7)] * 2
    for name in names:
        form.event(leaf("EENTER"), Call(Kind.ECALL, 1, name))
        form.event(leaf("EEXIT"), Call(Kind.ECALL_RETURN))
    assert [name for track, kind, name in shown(form) if track == "thread" and kind == "SLICE_BEGIN"] == [
        f"ECALL 1 {name}" for name in names
    ]


def test_no_packet_of_any_kind_breaks_a_rule() -> None:
    form = Perfetto()
    form.event(Happened(0, 1, 2, "enclave_initialised", {"eid": 1, "mrenclave": "", "mrsigner": "", "pages": 9}), None)
    form.event(leaf("EENTER", 1), None)
    for number, kind in enumerate(TABLE):
        values = {
            field.name: (6 if field.name in ("vector", "signo") else 1) if field.type == "int" else "EENTER"
            for field in kind.fields()
            if field.name not in ("pid", "tid")
        }
        kernel = () if kind.name().startswith("process_") else ((0, 0),)
        for pid, tid in ((1, 2), (3, 4), *kernel):
            form.event(Happened(number + 2, pid, tid, kind.name(), values), None)
    assert broken(form.take()) == []


@pytest.mark.parametrize(
    ("dropped", "words"),
    [
        (lambda packet: packet.sequence_flags == 1, "before the state of its sequence"),
        (lambda packet: packet.HasField("clock_snapshot"), "which no snapshot compares"),
        (lambda packet: packet.track_descriptor.HasField("process"), "of no process"),
        (lambda packet: packet.track_descriptor.HasField("thread"), "that is described later"),
        (lambda packet: packet.track_descriptor.HasField("counter"), "on a track of None"),
        (lambda packet: packet.track_event.type == TrackEvent.TYPE_SLICE_BEGIN, "ends what has not begun"),
    ],
    ids=["state", "clocks", "process", "thread", "counter", "begin"],
)
def test_the_rules_notice_what_is_missing(dropped: Callable[[TracePacket], bool], words: str) -> None:
    form = Perfetto()
    form.event(Happened(0, 1, 2, "enclave_initialised", {"eid": 1, "mrenclave": "", "mrsigner": "", "pages": 9}), None)
    form.event(leaf("EENTER", 1), None)
    form.event(leaf("EEXIT", 2), None)
    whole = packets(form)
    assert broken(Trace(packet=whole).SerializeToString()) == []
    assert words in " ".join(broken(Trace(packet=[p for p in whole if not dropped(p)]).SerializeToString()))
