"""A trace in JSON, line by line.  Whatever is wrong with it is said with its line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, BinaryIO

from enclu.base import console
from enclu.base.events import TABLE
from enclu.trace.decoders import Kind
from enclu.trace.json_lines import VERSION

_LONGEST = 1 << 20
"""Bytes of a line; those of a trace have some hundreds."""
_TYPES = {"int": int, "str": str}
_COMMON = (("time", int), ("pid", int), ("tid", int), ("event", str))
_FIELDS = {
    kind.name(): [(field.name, _TYPES[field.type]) for field in kind.fields() if field.name not in ("pid", "tid")]
    for kind in TABLE
}
_KINDS = {kind.value for kind in Kind}
_HOW = "`enclu trace --format json -o FILE PROGRAM` makes one, and `enclu profile -- PROGRAM` needs none"


class TraceError(Exception):
    """A file is no trace, or a damaged one; the message names the line and says why."""


class Trace:
    """One that is read once, from its beginning."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        """Raises TraceError."""
        self._file, self._name, self._number = file, name, 0
        line = self._line()
        if not line:
            raise TraceError(f"{name}: is empty: {_HOW}")
        try:
            head = self._object(line)
            version = head["enclu_trace"]
        except (TraceError, KeyError):
            raise TraceError(f"{name}: line 1: this is no trace in JSON: {_HOW}") from None
        if version != VERSION:
            raise TraceError(f"{name}: line 1: the trace is of version {version!r}, and this enclu reads {VERSION}")
        command = head.get("command")
        if not (isinstance(command, list) and all(isinstance(word, str) for word in command)):
            raise self._wrong("`command' is no list of words")
        self.command: list[str] = command
        self.delivery = console.printable(str(head.get("delivery", "")))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Events, with all fields of kinds that are known.  Raises TraceError."""
        while line := self._line():
            event = self._object(line)
            self._check(event, _COMMON)
            fields = _FIELDS.get(event["event"])
            if fields is None:
                continue  # of a later enclu
            self._check(event, fields)
            call = event.get("call")
            if call is not None:
                self._check_call(call)
            yield event

    def _line(self) -> bytes:
        self._number += 1
        try:
            line = self._file.readline(_LONGEST)
        except OSError as error:
            raise TraceError(f"{self._name}: cannot be read: {error.strerror}") from None
        if len(line) == _LONGEST:
            raise self._wrong(f"it is longer than {_LONGEST} bytes")
        return line

    def _object(self, line: bytes) -> dict[str, Any]:
        try:
            found = json.loads(line)
        except UnicodeDecodeError:
            raise self._wrong("it is no UTF-8") from None
        except (ValueError, RecursionError) as error:
            cut = "" if line.endswith(b"\n") else ", and the file ends here: it is cut off"
            raise self._wrong(f"it is no JSON: {error}{cut}") from None
        if not isinstance(found, dict):
            raise self._wrong("it is no JSON object")
        return found

    def _check(self, event: dict[str, Any], fields: Any) -> None:
        for name, kind in fields:
            value: Any = event.get(name)
            if type(value) is not kind:
                what = "is missing" if name not in event else f"is no {'number' if kind is int else 'text'}"
                raise self._wrong(f"`{name}' of {event.get('event', 'an event')!r} {what}")
            if kind is int and not -(1 << 31) <= value < 1 << 64:
                raise self._wrong(f"`{name}' of {event['event']!r} is out of range")

    def _check_call(self, call: Any) -> None:
        if isinstance(call, dict) and str(call.get("kind")) in _KINDS and isinstance(call.get("name", ""), str):
            number = call.get("number", 0)
            if isinstance(number, int) and not isinstance(number, bool) and -(1 << 31) <= number < 1 << 64:
                return
        raise self._wrong("`call' is none that enclu writes")

    def _wrong(self, what: str) -> TraceError:
        return TraceError(f"{self._name}: line {self._number}: {what}")
