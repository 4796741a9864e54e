"""The notes of a core: those of the kernel, in its order, and one of the machine's own about enclaves.

Kernel: fs/binfmt_elf.c, fill_note_info() and write_note_info().
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from enclu.linux import coredump, procfs
from enclu.linux.coredump import CORE, LINUX, PF_DUMPCORE, PF_SIGNALED, PRPSINFO, PRSTATUS, Nt, note, regsets
from enclu.linux.snapshot import Snapshot
from enclu.native import proc
from enclu.run.cores.contexts import Context
from enclu.sgx.structs import GPRSGX

OWNER, KIND, VERSION = b"enclu", 0x53475831, 1
"""Of the machine's own note: docs/cores.md has its contents."""
_TIMEVAL = struct.Struct("<qq")
_UTIME, _STIME, _CUTIME, _CSTIME, _NICE, _FLAGS = 11, 12, 13, 14, 16, 6
"""Fields of /proc/PID/stat, from the state on."""
_NAME_SIZE = PRPSINFO.width("pr_fname") - 1


class Raised(Protocol):
    """An exception, as an event or a fault."""

    vector: int
    error_code: int
    address: int

    @property
    def reason(self) -> str: ...


Exceptions = dict[tuple[int, int], tuple[int, dict[str, Any]]]
"""By EID and TCS: where it was raised, and what `exception` makes of it."""


@dataclass(frozen=True)
class Cause:
    """Why there is a core: nothing is known of one that somebody asked for."""

    signo: int = 0
    siginfo: bytes = b""
    exception: Mapping[str, Any] = field(default_factory=dict)
    """vector, error_code, address and reason."""


def of_process(
    tgid: int, contexts: Sequence[Context], cause: Cause, mapped: Sequence[tuple[int, int, int, bytes]], vdso: int,
    about: Mapping[str, Any],
) -> bytes:  # fmt: skip
    """All of them.  Raises OSError."""
    first, *others = contexts
    with open(proc.follow(first.task.tid, "auxv", os.O_RDONLY), "rb") as file:
        auxv = procfs.auxv(coredump.up_to_null(file.read()), vdso)
    out = [
        _prstatus(tgid, first, cause.signo),
        note(CORE, Nt.PRPSINFO, _prpsinfo(tgid, first, cause)),
        note(CORE, Nt.SIGINFO, cause.siginfo) if cause.siginfo else b"",
        note(CORE, Nt.AUXV, auxv),
        note(CORE, Nt.FILE, coredump.files(mapped)),
        regsets(first.xstate),
        *(_prstatus(tgid, other, cause.signo) + regsets(other.xstate) for other in others),
        note(LINUX, Nt.X86_XSAVE_LAYOUT, coredump.xsave_layout(first.task.machine.layout.places)),
        note(OWNER, KIND, json.dumps(about, separators=(",", ":")).encode()),
    ]
    return b"".join(out)


def exception(raised: Raised) -> dict[str, Any]:
    """An exception, for `about`."""
    return {
        "vector": int(raised.vector), "error_code": raised.error_code, "address": raised.address,
        "reason": raised.reason,
    }  # fmt: skip


def about(
    contexts: Sequence[Context], enclaves: Sequence[Mapping[str, Any]], cause: Cause, exceptions: Exceptions
) -> dict[str, Any]:
    """What the machine's own note tells."""
    return {
        "version": VERSION,
        "exception": dict(cause.exception),
        "enclaves": list(enclaves),
        "threads": [_thread(context, exceptions) for context in contexts],
    }


def enclave(snapshot: Snapshot, *, included: bool, image: str, build_id: str) -> dict[str, Any]:
    """One of the enclaves, for `about`."""
    secs = snapshot.secs
    return {
        "eid": secs.eid, "base": secs.baseaddr, "size": secs.size, "attributes": secs.attributes, "xfrm": secs.xfrm,
        "miscselect": secs.miscselect, "ssaframesize": secs.ssaframesize, "initialised": secs.initialised,
        "mrenclave": secs.mrenclave.hex(), "mrsigner": secs.mrsigner.hex(), "isvprodid": secs.isvprodid,
        "isvsvn": secs.isvsvn, "debug": snapshot.debug, "included": included, "image": image, "build_id": build_id,
    }  # fmt: skip


def _thread(context: Context, exceptions: Exceptions) -> dict[str, Any]:
    frame = context.frame
    told: dict[str, Any] = {"lwp": context.lwp, "state": context.state}
    if context.host:
        told["host_registers"] = context.host.hex()
    if frame is not None:
        told |= {"eid": frame.snapshot.secs.eid, "tcs": frame.tcs, "ssa": frame.index, "aep": frame.aep}
        if context.state != "inside":  # there the frame is yet to be filled
            told |= {"gprsgx": frame.gprsgx.hex(), "exinfo": frame.exinfo.hex()}
            rip, raised = exceptions.get((frame.snapshot.secs.eid, frame.tcs), (0, {}))
            if rip == GPRSGX.get(frame.gprsgx, "RIP"):
                told["exception"] = dict(raised)
    return told


def _prstatus(tgid: int, context: Context, signo: int) -> bytes:
    """fill_prstatus()."""
    tid = context.task.tid
    file = "stat" if tid == tgid else f"task/{tid}/stat"  # the first one has its process's times
    stat = proc.text(tid, file).rpartition(")")[2].split()
    pending, _, blocked = proc.signal_masks(tid)
    times = {
        name: _timeval(int(stat[at]))
        for name, at in (("pr_utime", _UTIME), ("pr_stime", _STIME), ("pr_cutime", _CUTIME), ("pr_cstime", _CSTIME))
    }
    return note(
        CORE, Nt.PRSTATUS,
        PRSTATUS.pack(
            si_signo=signo, pr_cursig=signo, pr_sigpend=pending, pr_sighold=blocked, pr_pid=context.lwp,
            pr_ppid=int(stat[1]), pr_pgrp=int(stat[2]), pr_sid=int(stat[3]), pr_reg=context.registers, pr_fpvalid=1,
            **times,
        ),
    )  # fmt: skip


def _timeval(ticks: int) -> bytes:
    per_second = os.sysconf("SC_CLK_TCK")
    return _TIMEVAL.pack(ticks // per_second, ticks % per_second * 1_000_000 // per_second)


def _prpsinfo(tgid: int, first: Context, cause: Cause) -> bytes:
    """fill_psinfo()."""
    stat, status = proc.stat(first.task.tid), proc.status(first.task.tid)
    with open(proc.follow(first.task.tid, "cmdline", os.O_RDONLY), "rb") as file:
        command_line = file.read(PRPSINFO.width("pr_psargs"))
    ending = PF_DUMPCORE | PF_SIGNALED if cause.signo else 0
    name = proc.comm(tgid).encode(errors="surrogateescape")
    uid, gid = (int(status[name].split()[0]) for name in ("Uid", "Gid"))
    return PRPSINFO.pack(
        pr_sname=b"R", pr_nice=int(stat[_NICE]), pr_flag=int(stat[_FLAGS]) | ending, pr_uid=uid, pr_gid=gid,
        pr_pid=tgid, pr_ppid=int(stat[1]), pr_pgrp=int(stat[2]), pr_sid=int(stat[3]), pr_fname=name[:_NAME_SIZE],
        pr_psargs=coredump.arguments(command_line),
    )  # fmt: skip
