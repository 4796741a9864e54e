"""What a core of `enclu run` tells of enclaves, for people and for gdb."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from enclu.host.errors import HostError
from enclu.run.cores.notes import KIND, OWNER, VERSION
from enclu.run.image_files import build_id
from enclu.sgx.epc import PAGE_SIZE
from enclu.sgx.exceptions import MEANINGS, Vector
from enclu.sgx.structs import EXINFO, EXITINFO_VALID, EXITINFO_VECTOR, GPRSGX, Attribute

if TYPE_CHECKING:
    from enclu.host.frames import SsaFrame
    from enclu.run.cores.contexts import First


class Image(Protocol):
    """The file that an enclave comes from."""

    @property
    def path(self) -> str | os.PathLike[str]: ...


class Loaded(Protocol):
    """An enclave of the process."""

    @property
    def base(self) -> int: ...

    @property
    def image(self) -> Image: ...


class Process(Protocol):
    """One with enclaves."""

    @property
    def pid(self) -> int: ...

    @property
    def enclaves(self) -> Sequence[Loaded]: ...

    def check(self) -> None:
        """Raises HostError, ProcessDied if there is none to be asked for anything."""


MOST_NOTES = 64 << 20
"""Bytes of a note that can be meant."""


def write(
    process: Process, path: Path, enclaves: str = "debug", *, exception: Mapping[str, Any] | None = None,
    first: First | None = None,
) -> Path:  # fmt: skip
    """Write a core of a process with enclaves, which goes on.  Raises HostError, OSError, FileExistsError.

    What was interrupted in a TCS comes `first` in it, because of an `exception`.
    """
    from enclu.run.control import Refused
    from enclu.run.cores.dump import Enclaves
    from enclu.run.cores.live import core

    process.check()
    try:
        chosen = Enclaves(enclaves)
    except ValueError:
        raise HostError(f"no enclaves are called {enclaves!r}: {', '.join(one.value for one in Enclaves)}") from None
    images = {enclave.base: os.path.abspath(enclave.image.path) for enclave in process.enclaves}
    try:
        core(process.pid, path, chosen, first=first, exception=exception, images=images)
    except Refused as why:
        raise HostError(f"{path}: {why}") from None
    return path


def frame_of(tcs: int, frame: SsaFrame, pages: int) -> First:
    """What `write` takes: a frame of so many pages, as it was in the enclave."""
    from enclu.run.cores.contexts import First

    gprsgx = GPRSGX.pack(**{name.upper(): value for name, value in vars(frame.gprsgx).items()})
    behind = EXINFO.pack(MADDR=frame.maddr, ERRCD=frame.errcd) + gprsgx
    return First(tcs, frame.index, frame.xsave.ljust(pages * PAGE_SIZE - len(behind), b"\0") + behind)


class NoCore(HostError):
    """Not a core of enclu's; why, in words."""


@dataclass
class Core:
    """One of them."""

    about: dict[str, Any]
    images: dict[int, str] = field(default_factory=dict)
    """Files of enclaves that the core does not know, by EID."""

    @classmethod
    def read(cls, path: Path, images: Sequence[str] = ()) -> Core:
        """Raises NoCore, OSError."""
        about = _about(path)
        core = cls(about)
        for image in images:
            core._match(image)
        return core

    def image(self, enclave: dict[str, Any]) -> str:
        """The file of an enclave; empty if it is not known."""
        return self.images.get(enclave["eid"], "") or str(enclave["image"])

    def _match(self, image: str) -> None:
        """Say of which enclave the file is: the one with its build ID, else the only one that has no other."""
        content = Path(image).read_bytes()

        def read(at: int, size: int) -> bytes:
            return content[at : at + size]

        found = build_id(read, 0)
        enclaves = self.about["enclaves"]
        matching = [e for e in enclaves if found and e["build_id"] == found]
        if not matching:
            unknown = [e for e in enclaves if not (found and e["build_id"])]
            matching = [e for e in unknown if not self.image(e)] or unknown
        if len(matching) != 1:
            raise NoCore(f"{image} is the file of none of its enclaves, or of several")
        self.images[matching[0]["eid"]] = os.path.abspath(image)

    def commands(self) -> str:
        """For gdb: the symbols of the enclaves."""
        lines = []
        for enclave in self.about["enclaves"]:
            image = self.image(enclave)
            if image and not _is_elf(image):
                lines.append(f"# the file of the enclave at {enclave['base']:#x} has no symbols: {image}")
            elif image:
                lines.append(f"add-symbol-file {shlex.quote(image)} -o {enclave['base']:#x}")
            else:
                known = f", build ID {enclave['build_id']}" if enclave["build_id"] else ""
                lines.append(f"# the file of the enclave at {enclave['base']:#x} is not known{known}")
        return "\n".join(["set confirm off", *lines])

    def described(self) -> str:
        """For people."""
        return "\n".join([*self._exception(), *self._enclaves(), *self._threads()])

    def _exception(self) -> Iterator[str]:
        if self.about["exception"]:
            yield f"exception {_exception(self.about['exception'])}"

    def _enclaves(self) -> Iterator[str]:
        for e in self.about["enclaves"]:
            flags = "|".join(flag.name or "" for flag in Attribute if e["attributes"] & flag)
            pages = "its pages are in the core" if e["included"] else "its pages are not in the core"
            yield f"enclave {e['eid']} at {e['base']:#x}, size {e['size']:#x}, {flags}, XFRM {e['xfrm']:#x}; {pages}"
            yield f"  MRENCLAVE {e['mrenclave']}"
            known = self.image(e)
            yield (
                f"  file {known}"
                if known
                else "  file not known" + (f", build ID {e['build_id']}" * bool(e["build_id"]))
            )

    def _threads(self) -> Iterator[str]:
        for thread in self.about["threads"]:
            where = f", TCS {thread['tcs']:#x}, SSA frame {thread['ssa']}" if "tcs" in thread else ""
            yield f"LWP {thread['lwp']}: {_STATES.get(thread['state'], thread['state'])}{where}"
            if thread.get("gprsgx"):
                yield f"  {_frame(bytes.fromhex(thread['gprsgx']), bytes.fromhex(thread['exinfo']))}"
            if thread.get("exception"):
                yield f"  exception {_exception(thread['exception'])}"


_STATES = {
    "outside": "outside enclaves", "inside": "in an enclave",
    "at the AEP": "at the AEP, about to execute ERESUME; registers of its SSA frame",
    "interrupted": "no thread: what was interrupted in an enclave",
    "left": "no thread: what was interrupted in an enclave, and has been given up since",
}  # fmt: skip


def _is_elf(path: str) -> bool:
    """One that is not there now may be there for gdb."""
    try:
        with open(path, "rb") as file:
            return file.read(4) == b"\x7fELF"
    except OSError:
        return True


def _name(vector: int) -> str:
    try:
        return f"#{Vector(vector).name} ({MEANINGS[Vector(vector)]})"
    except (ValueError, KeyError):
        return f"vector {vector}"


def _exception(told: Mapping[str, Any]) -> str:
    code = "" if told.get("error_code") is None else f", error code {told['error_code']:#x}"
    where = f" at {told['address']:#x}" if told.get("address") else ""
    return f"{_name(told['vector'])}{where}{code}: {told['reason']}"


def _frame(gprsgx: bytes, exinfo: bytes) -> str:
    saved = GPRSGX.unpack(gprsgx)
    out = f"RIP {saved['RIP']:#x}, RSP {saved['RSP']:#x}"
    if not saved["EXITINFO"] & EXITINFO_VALID:
        return f"{out}; EXITINFO tells no exception"
    out += f"; EXITINFO {_name(saved['EXITINFO'] & EXITINFO_VECTOR)}"
    if exinfo:
        told = EXINFO.unpack(exinfo)
        out += f", EXINFO MADDR {told['MADDR']:#x}, ERRCD {told['ERRCD']:#x}"
    return out


def _about(path: Path) -> dict[str, Any]:
    """Contents of the machine's own note.  Raises NoCore, OSError."""
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    with path.open("rb") as file:
        try:
            elf = ELFFile(file)
            places = [(s["p_offset"], s["p_filesz"]) for s in elf.iter_segments("PT_NOTE")]
        except (ELFError, ValueError, OverflowError) as error:
            raise NoCore(f"not a core: {error or 'no ELF file'}") from None
        for offset, size in places:
            file.seek(offset)
            for owner, kind, content in _notes(file.read(min(size, MOST_NOTES))):
                if (owner, kind) == (OWNER, KIND):
                    return _checked(content)
    raise NoCore("a core of the kernel's or of another program; enclu's own say more")


def _notes(data: bytes) -> Iterator[tuple[bytes, int, bytes]]:
    at = 0
    while at + 12 <= len(data):
        owner, size, kind = (int.from_bytes(data[at + i : at + i + 4], "little") for i in (0, 4, 8))
        name = at + 12
        content = name + -(-owner // 4) * 4
        yield data[name : name + owner].rstrip(b"\0"), kind, data[content : content + size]
        at = content + -(-size // 4) * 4


def _checked(content: bytes) -> dict[str, Any]:
    """Raises NoCore."""
    try:
        about: dict[str, Any] = json.loads(content)
        version = about["version"]
    except (ValueError, KeyError, TypeError):
        raise NoCore("damaged: the note about enclaves cannot be read") from None
    if version != VERSION:
        raise NoCore(f"of another version of enclu: its note has version {version}, not {VERSION}")
    return about
