"""`monitor sgx`: what the machine knows and gdb has no words for."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

from enclu.linux.snapshot import Snapshot
from enclu.run import image_files
from enclu.run.gdb import memory
from enclu.run.gdb.registers import Whose, frame_of
from enclu.run.gdb.witness import exception_text
from enclu.sgx.epc import PAGE_SIZE, PageType
from enclu.sgx.exceptions import Vector
from enclu.sgx.structs import EXINFO, EXITINFO_VALID, EXITINFO_VECTOR, GPR_NAMES, GPRSGX, MISC_EXINFO, TCS, Attribute

if TYPE_CHECKING:
    from collections.abc import Iterator

    from enclu.linux.encl import Encl
    from enclu.run.gdb.server import Server
    from enclu.run.task import Task
    from enclu.sgx.secs import Secs

HELP = """\
monitor sgx                          enclaves, and the threads that are in them
monitor sgx tcs [EID]                the TCSes of an enclave
monitor sgx ssa [TCS [FRAME]]        registers in an SSA frame; without TCS the thread's own
monitor sgx epcm ADDRESS             the EPCM entry of a page
monitor sgx last                     the last exceptions of enclaves and of ENCLU, with their reasons
monitor sgx add-symbols FILE [EID]   the command that loads the symbols of an enclave's file
"""


class _Wrong(Exception):
    """What the user has typed cannot be done; the message says why."""


def answer(server: Server, command: str) -> str:
    """What to show for a command."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        return f"{error}\n"
    if words[:1] != ["sgx"]:
        return f"no such command; there are:\n{HELP}"
    name, arguments = words[1] if len(words) > 1 else "enclaves", words[2:]
    handler = _COMMANDS.get(name)
    if handler is None:
        return HELP
    try:
        return "".join(f"{line}\n" for line in handler(server, server.task, arguments))
    except _Wrong as error:
        return f"{error}\n"
    except OSError as error:
        return f"{error.strerror}\n"


def _number(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise _Wrong(f"{text!r} is no number: write for example 0x7f1200000000") from None


def _chosen(server: Server, task: Task, arguments: list[str]) -> Encl:
    """By EID, or the one that there is."""
    enclaves = server.libraries.enclaves(task)
    if arguments:
        eid = _number(arguments[0])
        enclaves = [encl for encl in enclaves if encl.eid == eid]
    if len(enclaves) != 1:
        known = ", ".join(str(encl.eid) for encl in server.libraries.enclaves(task)) or "none"
        raise _Wrong(f"which enclave? There are, by EID: {known}")
    return enclaves[0]


def _enclaves(server: Server, task: Task, _: list[str]) -> Iterator[str]:
    enclaves = server.libraries.enclaves(task)
    if not enclaves:
        yield "no enclave is initialised"
    for encl in enclaves:
        secs = encl.secs
        assert secs is not None
        kind = "debug" if secs.attributes & Attribute.DEBUG else "production"
        yield (
            f"enclave {encl.eid}: {encl.base:#x} to {encl.base + encl.size:#x}, {kind}, "
            f"attributes {secs.attributes:#x}, XFRM {secs.xfrm:#x}, SSA frames of {secs.ssaframesize} pages"
        )
        yield f"  MRENCLAVE {secs.mrenclave.hex()}"
        if memory.is_debug(encl):
            file = server.libraries.images.find(encl, task.tid)
            yield f"  file {file.path}" if file else "  file not found: monitor sgx add-symbols FILE tells what to do"
        for thread in task.process.threads.values():
            if thread.mode.enclave and thread.mode.eid == encl.eid:
                yield f"  thread {thread.tid} is in it, TCS {thread.mode.tcs_la:#x}"


def _tcs(server: Server, task: Task, arguments: list[str]) -> Iterator[str]:
    encl = _chosen(server, task, arguments)
    users = {t.mode.tcs_la: t.tid for t in task.process.threads.values() if t.mode.enclave}
    for address in sorted(page.address for page in encl.pages.single() if page.type == PageType.TCS):
        who = f"thread {users[address]}" if address in users else "nobody"
        if not memory.is_debug(encl):
            yield f"TCS {address:#x}: {who} is in it"
            continue
        f = TCS.unpack(memory.read_enclave(task.mm, address, memory.TCS_SIZE).ljust(TCS.size, b"\0"))
        yield (
            f"TCS {address:#x}: {who} is in it, CSSA {f['CSSA']} of {f['NSSA']}, entry {encl.base + f['OENTRY']:#x}, "
            f"AEP {f['AEP']:#x}, FLAGS {f['FLAGS']:#x}, SSA {encl.base + f['OSSA']:#x}"
        )


def _own_tcs(server: Server, task: Task) -> tuple[Secs, int]:
    """The TCS that the thread is in, or has left by an AEX."""
    eid, tcs_la = task.mode.eid, task.mode.tcs_la
    if not task.mode.enclave:
        eid, tcs_la = server.debugger.witness.left.get(task.tid, (0, 0))
    secs = task.machine.enclaves.get(eid)
    if secs is None or not tcs_la:
        raise _Wrong("the thread is in no enclave, and has not just left one: name a TCS (monitor sgx tcs)")
    return secs, tcs_la


def _ssa(server: Server, task: Task, arguments: list[str]) -> Iterator[str]:
    if arguments:
        tcs_la = _number(arguments[0])
        encl = memory.enclave_at(task.mm, tcs_la)
        if encl is None or encl.secs is None:
            raise _Wrong(f"no enclave at {tcs_la:#x}")
        secs = encl.secs
    else:
        secs, tcs_la = _own_tcs(server, task)
    if not secs.attributes & Attribute.DEBUG:
        raise _Wrong("a production enclave: its SSA is not to be read")
    frame = frame_of(task, secs, tcs_la, _number(arguments[1]) if len(arguments) > 1 else -1)
    if frame is None:
        raise _Wrong(f"TCS {tcs_la:#x} has no such SSA frame in use: no AEX has happened")
    f = GPRSGX.unpack(memory.read_enclave(task.mm, frame.gprsgx, GPRSGX.size))
    yield f"SSA frame at {frame.start:#x} of TCS {tcs_la:#x}, enclave {secs.eid}"
    yield f"rip    {f['RIP']:#018x}  offset {f['RIP'] - secs.baseaddr:#x}"
    names = [*GPR_NAMES, "rflags", "ursp", "urbp", "fsbase", "gsbase"]
    for i in range(0, len(names), 3):
        yield "  ".join(f"{name:<6} {f[name.upper()]:#018x}" for name in names[i : i + 3])
    info = f["EXITINFO"]
    if info & EXITINFO_VALID:
        yield f"EXITINFO {info:#x}: #{Vector(info & EXITINFO_VECTOR).name}"
    else:
        yield f"EXITINFO {info:#x}: not valid, as after an interrupt or an exception that is not reported"
    if secs.miscselect & MISC_EXINFO:
        x = EXINFO.unpack(memory.read_enclave(task.mm, frame.gprsgx - EXINFO.size, EXINFO.size))
        yield f"EXINFO address {x['MADDR']:#x}, error code {x['ERRCD']:#x}"


def _epcm(server: Server, task: Task, arguments: list[str]) -> Iterator[str]:
    if len(arguments) != 1:
        raise _Wrong("monitor sgx epcm ADDRESS")
    address = _number(arguments[0])
    encl = memory.enclave_at(task.mm, address)
    if encl is None:
        raise _Wrong(f"no enclave at {address:#x}")
    where = f"enclave {encl.eid} + {(address & -PAGE_SIZE) - encl.base:#x}"
    if address >> 12 not in encl.pages:
        yield f"{where}: no page was added there"
        return
    page = encl.resident(address)
    yield f"{where}: {page.described}" if page is not None else f"{where}: evicted, or lost in a power event"
    vma = task.mm.find_vma(address)
    if vma is not None:
        yield f"mapped {''.join(c if vma.prot >> bit & 1 else '-' for bit, c in enumerate('RWX'))}"


def _last(server: Server, task: Task, _: list[str]) -> Iterator[str]:
    events = server.debugger.witness.last
    if not events:
        yield "no exception so far"
    for event in events:
        yield f"[{event.pid}] thread {event.tid}: {exception_text(event)}"


def _add_symbols(server: Server, task: Task, arguments: list[str]) -> Iterator[str]:
    if not arguments:
        raise _Wrong("monitor sgx add-symbols FILE [EID]")
    path, encl = os.path.abspath(arguments[0]), _chosen(server, task, arguments[1:])
    snapshot = Snapshot(encl)
    files = image_files.opened(task.tid, path, f"root{path}")
    found = next((image_files.match(path, read, snapshot.read, encl.base) for _, read in files), None)
    if found is None:
        yield f"# {path} is not what enclave {encl.eid} was loaded from, or not unchanged"
    yield f"add-symbol-file {path} -o {found.bias if found else encl.base:#x}"


def _unwind(server: Server, task: Task, _: list[str]) -> Iterator[str]:
    """For the unwinder: where the enclave is and is entered, and RIP, RSP and RBP outside of who is in it."""
    secs, tcs_la = _own_tcs(server, task)
    if not secs.attributes & Attribute.DEBUG:
        return
    view = server.view()
    tcs = memory.read_enclave(task.mm, tcs_la, memory.TCS_SIZE).ljust(TCS.size, b"\0")
    at = view.frame.gprsgx if view.whose is Whose.SSA and view.frame is not None else task.mode.gprsgx
    f = GPRSGX.unpack(memory.read_enclave(task.mm, at, GPRSGX.size))
    entry = secs.baseaddr + TCS.get(tcs, "OENTRY")
    numbers = (secs.baseaddr, secs.size, entry, TCS.get(tcs, "AEP"), f["URSP"], f["URBP"])
    yield " ".join(f"{number:#x}" for number in numbers)


_COMMANDS = {
    "enclaves": _enclaves, "tcs": _tcs, "ssa": _ssa, "epcm": _epcm, "last": _last, "add-symbols": _add_symbols,
    "unwind": _unwind,
}  # fmt: skip
