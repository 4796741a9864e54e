"""What a trace has for each kind of event, and what -e leaves of it."""

from __future__ import annotations

import json

import pytest

from enclu.base.events import TABLE, Event, Leaf
from enclu.sgx.structs import EncluLeaf
from enclu.trace.decoders import Call
from enclu.trace.filters import WORDS, Filter
from enclu.trace.forms import Form
from enclu.trace.json_lines import JsonLines
from enclu.trace.spool import Happened
from enclu.trace.text import Text, Times


def example(kind: type[Event]) -> Happened:
    """An event of the kind, with values of the right types."""
    values = {
        field.name: 6 if field.type == "int" else "word" for field in kind.fields() if field.name not in ("pid", "tid")
    }
    if kind is Leaf:
        values["leaf"] = "EENTER"
    return Happened(1_700_000_000_123_456_789, 1, 2, kind.name(), values)


def text(happened: Happened, times: Times = Times.NONE) -> str:
    """The one line of an event."""
    return written(Text(times), happened)


def written(form: Form, happened: Happened, call: Call | None = None) -> str:
    form.event(happened, call)
    return form.take().decode()


@pytest.mark.parametrize("kind", TABLE, ids=lambda kind: str(kind.name()))
def test_every_kind_has_a_line(kind: type[Event]) -> None:
    line = text(example(kind))
    assert line.startswith("[2] ") and line.endswith("\n") and line.count("\n") == 1
    if "reason" in example(kind).values:
        assert "-> " in line or ": word" in line


@pytest.mark.parametrize("kind", TABLE, ids=lambda kind: str(kind.name()))
def test_json_has_every_field(kind: type[Event]) -> None:
    happened = example(kind)
    found = json.loads(written(JsonLines(["program"], "vdso"), happened).splitlines()[-1])
    assert found == {"time": happened.time, "pid": 1, "tid": 2, "event": kind.name(), **happened.values}


def test_an_interrupt_is_no_vector() -> None:
    happened = Happened(0, 1, 2, "aex", {"vector": -1, "eid": 1, "tcs": 0x1000, "rip": 0x2000})
    assert text(happened) == "[2] AEX interrupt eid=1 tcs=0x1000 rip=0x2000\n"


def test_why_a_leaf_faulted_is_said() -> None:
    values = {"eid": 0, "leaf": "EENTER", "tcs": 0x7000, "vector": 13, "error_code": 0, "address": 0,
              "reason": "the TCS is busy: another logical processor is in it"}  # fmt: skip
    assert text(Happened(0, 1, 2, "leaf_faulted", values)) == (
        "[2] EENTER tcs=0x7000 -> #GP: the TCS is busy: another logical processor is in it\n"
    )


@pytest.mark.parametrize(("rax", "end"), [(0, "rsp=0x5\n"), (1, "rsp=0x5 = 1\n")])
def test_an_eresume_that_notifies_says_at_which_cssa(rax: int, end: str) -> None:
    values = {"eid": 1, "leaf": "ERESUME", "tcs": 0x7000, "rax": rax, "rdi": 1, "rsi": 2, "rbx": 3, "rcx": 4, "rsp": 5}
    line = text(Happened(0, 1, 2, "leaf", values))
    assert line == f"[2] ERESUME tcs=0x7000 aep=0x4 rdi=0x1 rsi=0x2 {end}"


def test_times() -> None:
    happened = example(Leaf)
    assert text(happened, Times.EPOCH).startswith("[2] 1700000000.123456 EENTER")
    relative = Text(Times.RELATIVE)
    assert written(relative, happened).startswith("[2] +0.000000 ")
    later = happened._replace(time=happened.time + 1_500_000)
    assert written(relative, later).startswith("[2] +0.001500 ")


@pytest.mark.parametrize(
    ("words", "wanted", "unwanted"),
    [
        ("", ["aex", "leaf EENTER", "page_evicted"], []),
        ("aex", ["aex", "enclave_exception"], ["leaf EENTER", "ioctl"]),
        ("eenter,ioctl", ["leaf EENTER", "leaf_faulted EENTER", "ioctl", "ioctl_refused"], ["leaf EEXIT", "aex"]),
        ("enclu,eenter", ["leaf EENTER", "leaf EEXIT"], ["aex"]),
        ("page_evicted", ["page_evicted"], ["page_reloaded"]),
        ("!enclu", ["aex", "ioctl"], ["leaf EENTER", "leaf_refused EACCEPT"]),
        ("!enclu,eexit", ["aex"], ["leaf EENTER", "leaf EEXIT"]),
        ("!eexit,paging", ["leaf EENTER", "aex"], ["leaf EEXIT", "page_evicted"]),
    ],
)
def test_a_filter_wants_what_its_words_say(words: str, wanted: list[str], unwanted: list[str]) -> None:
    found = Filter(words)

    def wants(what: str) -> bool:
        name, _, leaf = what.partition(" ")
        return found.wants(name, leaf)

    assert all(wants(what) for what in wanted) and not any(wants(what) for what in unwanted)
    assert {kind.name() for kind in found.kinds} >= {what.partition(" ")[0] for what in wanted}


def test_every_leaf_can_be_named() -> None:
    assert {leaf.name.lower() for leaf in EncluLeaf} <= set(WORDS)


def test_a_word_that_means_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'eentr' is no event \(there are: enclu, aex"):
        Filter("aex,eentr")
