"""Files that are no traces, or damaged ones: one line says where and why."""

from __future__ import annotations

import io
import json
import os
import random
from pathlib import Path

import pytest

from enclu.trace.profile.measure import measure
from enclu.trace.profile.reader import Trace, TraceError
from tests.support.runs import enclu
from tests.trace.traces import HEAD, Making

LINE = {"time": 1, "pid": 1, "tid": 2, "event": "thread_gone"}
LEAF = {**LINE, "event": "leaf", "eid": 1, "leaf": "EENTER", "tcs": 1, "rax": 0, "rdi": 0, "rsi": 0, "rbx": 0, "rcx": 0,
        "rsp": 0}  # fmt: skip


def said(content: bytes) -> str:
    with pytest.raises(TraceError) as caught:
        measure(Trace(io.BytesIO(content), "log"))
    message = str(caught.value)
    assert message.startswith("log: ") and "\n" not in message
    return message


def lines(*objects: object) -> bytes:
    return b"".join(json.dumps(item).encode() + b"\n" for item in objects)


@pytest.mark.parametrize(
    "content",
    [b"\0\1\2\xff", b"[305] EENTER tcs=0x7000\n", b"{}\n", b"[]\n", b"3\n", b"\n", b'{"enclu_profile": 1}\n',
     b"\x7fELF" * 99, b"[" * 100_000],
)  # fmt: skip
def test_what_is_no_trace_is_told_how_to_make_one(content: bytes) -> None:
    message = said(content)
    assert "line 1: this is no trace in JSON" in message and "enclu trace --format json" in message


def test_an_empty_file_is_told_too() -> None:
    assert "is empty" in said(b"")


def test_another_version_is_refused() -> None:
    assert "is of version 2, and this enclu reads 1" in said(lines({**HEAD, "enclu_trace": 2}))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (lines({**HEAD, "command": "app"}), "line 1: `command' is no list"),
        (lines(HEAD, LINE) + b"{garbage\n", "line 3: it is no JSON"),
        (lines(HEAD, LINE)[:-9], "line 2: it is no JSON"),
        (lines(HEAD, LINE)[:-9], "cut off"),
        (lines(HEAD) + b"\xff\xfe\n", "line 2: it is no UTF-8"),
        (lines(HEAD, [1]), "line 2: it is no JSON object"),
        (lines(HEAD) + b"\n", "line 2: it is no JSON"),
        (lines(HEAD) + b"[" * 200_000 + b"\n", "line 2: it is no JSON"),
        (lines(HEAD) + b"9" * 10_000 + b"\n", "line 2: it is no JSON"),
        (lines(HEAD) + b"1" * (1 << 20) + b"\n", "line 2: it is longer than"),
        (lines(HEAD, {"event": "thread_gone"}), "line 2: `time' of 'thread_gone' is missing"),
        (lines(HEAD, {**LINE, "time": "now"}), "`time' of 'thread_gone' is no number"),
        (lines(HEAD, {**LINE, "time": True}), "`time' of 'thread_gone' is no number"),
        (lines(HEAD, {**LINE, "time": 10**400}), "is out of range"),
        (lines(HEAD, {**LINE, "event": 3}), "`event' of 3 is no text"),
        (lines(HEAD, {**LINE, "event": "leaf"}), "`eid' of 'leaf' is missing"),
        (lines(HEAD, {**LEAF, "call": 3}), "`call' is none"),
        (lines(HEAD, {**LEAF, "call": {"kind": "nonsense"}}), "`call' is none"),
        (lines(HEAD, {**LEAF, "call": {"kind": "ecall", "number": "1"}}), "`call' is none"),
        (lines(HEAD, {**LEAF, "call": {"kind": "ecall", "name": 1}}), "`call' is none"),
        (lines(HEAD, {**LEAF, "call": {"kind": [], "name": ""}}), "`call' is none"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(content: bytes, words: str) -> None:
    assert words in said(content)


def test_kinds_of_a_later_enclu_are_passed_over() -> None:
    content = lines(HEAD, {**LINE, "event": "something_new", "field": {}}, LINE)
    assert measure(Trace(io.BytesIO(content), "log")).command == HEAD["command"]


@pytest.mark.parametrize("seed", range(100))
def test_a_damaged_trace_is_an_error_or_a_profile(seed: int) -> None:
    made = Making()
    for _ in range(5):
        made.ecall(1)
        made.whole_ocall(2, 5)
        made.aex()
        made.ecall_returns()
        made.event("page_evicted", eid=1, address=4096)
    content, source = bytearray(made.content), random.Random(seed)
    for _ in range(source.randrange(1, 4)):
        at = source.randrange(len(content))
        content[at : at + source.randrange(3)] = source.randbytes(source.randrange(3))
    try:
        measure(Trace(io.BytesIO(bytes(content)), "log"))
    except TraceError as error:
        assert "\n" not in str(error)


def test_the_command_says_it_in_one_line(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(os.urandom(1000))
    done = enclu("profile", log)
    assert done.returncode == 1 and not done.stdout
    assert done.stderr.startswith(f"enclu: {log}: line 1: this is no trace") and done.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", [("/nowhere/log",), ("--format", "xml", "/dev/null"), ("/",)])
def test_files_that_cannot_be_read_are_named(arguments: tuple[str, ...]) -> None:
    done = enclu("profile", *arguments)
    assert done.returncode in (1, 2) and done.stderr.count("\n") == 1


def test_it_is_written_where_one_asks_for(tmp_path: Path) -> None:
    made = Making()
    made.whole_ecall(1, 5)
    log = tmp_path / "log"
    log.write_bytes(made.content)
    assert enclu("profile", "--format", "html", "-o", tmp_path / "page.html", log).returncode == 0
    assert "ECALL 1 work1" in (tmp_path / "page.html").read_text()
    done = enclu("profile", "-o", "/nowhere/page", log)
    assert done.returncode == 1 and "/nowhere/page: cannot be written" in done.stderr
