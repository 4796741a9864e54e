"""A trace for people: a line for each event, as strace has them."""

from __future__ import annotations

import enum
import signal
import time
from collections.abc import Callable
from typing import Any

from enclu.base import console
from enclu.native.in_process import leaves_of
from enclu.sgx.exceptions import Vector
from enclu.sgx.telling import NAMES, Before
from enclu.trace.calls import Calls
from enclu.trace.decoders import Call
from enclu.trace.forms import Lines
from enclu.trace.spool import Happened, Leaves

Values = dict[str, Any]


class Times(enum.Enum):
    """What each line begins with."""

    NONE = "none"
    RELATIVE = "relative"
    """Seconds since the line before."""
    CLOCK = "clock"
    """Of the day."""
    EPOCH = "epoch"
    """Seconds since 1970."""


def exception(values: Values) -> str:
    """What an event's vector is called."""
    return f"#{Vector(values['vector']).name}" if values["vector"] >= 0 else "interrupt"


def _vector(values: Values) -> str:
    name = exception(values)
    if values["vector"] == Vector.PF and "error_code" in values:
        name += f"({values['error_code']:#x}) at {values['address']:#x}"
    return name


def _leaf(leaf: str, tcs: int, rax: int, before: Before) -> str:
    rdi, rsi, rbx, rcx, rsp = before
    if leaf == "EENTER":
        return f"EENTER tcs={tcs:#x} aep={rcx:#x} rdi={rdi:#x} rsi={rsi:#x} rsp={rsp:#x} = {rax}"
    if leaf == "ERESUME":
        notified = f" = {rax}" if rax else ""  # in place of a resumption an entry, at CSSA 1 or above
        return f"ERESUME tcs={tcs:#x} aep={rcx:#x} rdi={rdi:#x} rsi={rsi:#x} rsp={rsp:#x}{notified}"
    if leaf == "EEXIT":
        return f"EEXIT tcs={tcs:#x} target={rbx:#x} rdi={rdi:#x} rsi={rsi:#x}"
    return f"{leaf} tcs={tcs:#x} rbx={rbx:#x} rcx={rcx:#x} = {rax}"


def signal_name(v: Values) -> str:
    """What an event's signal is called."""
    try:
        return signal.Signals(v["signo"]).name
    except ValueError:
        return f"signal {v['signo']}"


def _exit(v: Values) -> str:
    if v["signo"]:
        return f"{v['program']} is ended by {signal_name(v)}"
    return f"{v['program']} ends with status {v['status']}"


_LINES: dict[str, Callable[[Values], str]] = {
    "leaf": lambda v: _leaf(v["leaf"], v["tcs"], v["rax"], (v["rdi"], v["rsi"], v["rbx"], v["rcx"], v["rsp"])),
    "leaves_lost": lambda v: f"{v['count']:,} leaves more, not recorded",
    "leaf_refused": lambda v: f"{v['leaf']} tcs={v['tcs']:#x} -> {v['reason']}",
    "leaf_faulted": lambda v: f"{v['leaf']} tcs={v['tcs']:#x} -> {_vector(v)}: {v['reason']}",
    "aex": lambda v: f"AEX {_vector(v)} eid={v['eid']} tcs={v['tcs']:#x} rip={v['rip']:#x}",
    "enclave_exception": lambda v: f"{_vector(v)} at enclave {v['eid']} + {v['offset']:#x}: {v['reason']}",
    "aep_faulted": lambda v: f"AEP {v['address']:#x} tcs={v['tcs']:#x} -> {v['reason']}",
    "fault_resolved": lambda v: f"#PF resolved: page {v['address']:#x} of enclave {v['eid']} {v['how']}",
    "fixup": lambda v: f"fixup by {v['design']}: {_vector(v)}, goes on at {v['target']:#x}",
    "exception_signal": lambda v: f"{_vector(v)} becomes {signal_name(v)}",
    "signal_sent": lambda v: f"{signal_name(v)} sent",
    "device_opened": lambda v: f"open {v['path']}",
    "ioctl": lambda v: f"{v['ioctl']} eid={v['eid']} = {v['result']}",
    "ioctl_refused": lambda v: f"{v['ioctl']} eid={v['eid']} -> {v['errno']}: {v['reason']}",
    "mapping_refused": lambda v: f"{v['call']} -> {v['errno']}: {v['reason']}",
    "enclave_created": lambda v: (
        f"ECREATE eid={v['eid']} base={v['base']:#x} size={v['size']:#x} attributes={v['attributes']:#x} "
        f"xfrm={v['xfrm']:#x}"
    ),
    "enclave_initialised": lambda v: (
        f"EINIT eid={v['eid']} mrenclave={v['mrenclave']} mrsigner={v['mrsigner']} pages={v['pages']}"
    ),
    "enclave_removed": lambda v: f"enclave {v['eid']} removed",
    "page_evicted": lambda v: f"EWB eid={v['eid']} page={v['address']:#x}",
    "page_reloaded": lambda v: f"ELDU eid={v['eid']} page={v['address']:#x}",
    "page_removed": lambda v: f"EREMOVE eid={v['eid']} page={v['address']:#x}",
    "page_refused": lambda v: f"ELDU eid={v['eid']} page={v['address']:#x} -> {v['reason']}",
    "epc_lost": lambda v: f"power event: {v['enclaves']} enclaves lost their pages",
    "process_exec": lambda v: "exec",
    "thread_gone": lambda v: "thread ended",
    "process_exit": _exit,
    "process_gone": lambda v: "process gone",
}
"""By the kind's name; tests compare it with the table."""


class Text(Lines):
    """Makes lines."""

    def __init__(self, times: Times = Times.NONE) -> None:
        super().__init__()
        self._times = times
        self._last = 0
        self._second, self._clock = -1, ""

    def event(self, happened: Happened, call: Call | None) -> None:
        """One that is wanted."""
        begin = self._begin(happened.tid, happened.time) if self._times is not Times.NONE else f"[{happened.tid}] "
        shown = f" ({call.text})" if call is not None else ""
        self._lines.append(f"{begin}{console.printable(_LINES[happened.name](happened.values))}{shown}\n")

    def leaves(self, leaves: Leaves, wants: Callable[[str], bool], calls: Calls) -> None:
        """All that are wanted: as `event` has them, for millions."""
        tid, begin, add, decode = leaves.tid, f"[{leaves.tid}] ", self._lines.append, calls.leaf
        timed = self._times is not Times.NONE
        wanted = {name for name in NAMES.values() if wants(name)}
        for tsc, eid, leaf, tcs, rax, before in leaves_of(leaves.records):
            name = NAMES[leaf]
            call = decode(name, eid, tcs, rax, before[0], before[1], before[4])
            if name in wanted:
                if timed:
                    begin = self._begin(tid, leaves.time_of(tsc))
                shown = f" ({call.text})" if call is not None else ""
                add(f"{begin}{_leaf(name, tcs, rax, before)}{shown}\n")

    def _begin(self, tid: int, ns: int) -> str:
        return f"[{tid}] {self._time(ns)} "

    def _time(self, ns: int) -> str:
        if self._times is Times.RELATIVE:
            before, self._last = self._last or ns, ns
            return f"{(ns - before) / 1e9:+.6f}"
        second, rest = divmod(ns, 1_000_000_000)
        if self._times is Times.EPOCH:
            return f"{second}.{rest // 1000:06}"
        if second != self._second:
            self._second, self._clock = second, time.strftime("%H:%M:%S", time.localtime(second))
        return f"{self._clock}.{rest // 1000:06}"
