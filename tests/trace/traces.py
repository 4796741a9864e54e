"""Traces in JSON, made by hand."""

from __future__ import annotations

import io
import json
from typing import Any

from enclu.trace.profile.measure import Profile, measure
from enclu.trace.profile.reader import Trace

TCS = 0x7000
HEAD = {"enclu_trace": 1, "enclu": "0", "command": ["app", "<b>"], "delivery": "vdso"}


class Making:
    """A trace of one thread, on a clock that is set by hand."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = [HEAD]
        self.now = 1_000_000

    def event(self, kind: str, **values: object) -> None:
        self.lines.append({"time": self.now, "pid": 1, "tid": 2, "event": kind, **values})

    def leaf(self, leaf: str, call: dict[str, Any] | None = None, **values: object) -> None:
        registers = dict.fromkeys(("rax", "rdi", "rsi", "rbx", "rcx", "rsp"), 0)
        known = {} if call is None else {"call": call}
        self.event("leaf", **{"eid": 1, "leaf": leaf, "tcs": TCS, **registers, **values, **known})

    def ecall(self, number: int, **values: object) -> None:
        self.leaf("EENTER", {"kind": "ecall", "number": number, "name": f"work{number}"}, **values)

    def ecall_returns(self, **values: object) -> None:
        self.leaf("EEXIT", {"kind": "ecall_return"}, **values)

    def ocall(self, number: int) -> None:
        self.leaf("EEXIT", {"kind": "ocall", "number": number})

    def ocall_returns(self) -> None:
        self.leaf("EENTER", {"kind": "ocall_return"})

    def whole_ecall(self, number: int, ns: int) -> None:
        self.ecall(number)
        self.now += ns
        self.ecall_returns()

    def whole_ocall(self, number: int, ns: int) -> None:
        self.ocall(number)
        self.now += ns
        self.ocall_returns()

    def aex(self, vector: int = 14, **values: object) -> None:
        self.event("aex", **{"eid": 1, "tcs": TCS, "vector": vector, "rip": 0, **values})

    @property
    def content(self) -> bytes:
        return b"".join(json.dumps(line).encode() + b"\n" for line in self.lines)

    @property
    def profile(self) -> Profile:
        return measure(Trace(io.BytesIO(self.content), "log"))
