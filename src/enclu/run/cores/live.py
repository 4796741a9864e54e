"""A core of a process that goes on: what is asked of its supervisor, and how."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from enclu.native.wait import ThreadGone
from enclu.run import control
from enclu.run.control import Refused
from enclu.run.cores import file
from enclu.run.cores.contexts import First
from enclu.run.cores.dump import Enclaves, Known, NotDumpable
from enclu.run.cores.dump import dump as write
from enclu.run.cores.notes import Cause
from enclu.run.image_files import Images

if TYPE_CHECKING:
    from enclu.run.supervisor import Supervisor


def core(
    pid: int, path: Path, enclaves: Enclaves = Enclaves.DEBUG, *, first: First | None = None,
    exception: Mapping[str, Any] | None = None, images: Mapping[int, str] | None = None,
) -> None:  # fmt: skip
    """Have a core of a process written to a file that is not there yet, by the supervisor of its run.

    `first` is what the core is about, because of this `exception`.  `images` are the files of enclaves, by base
    address.  Raises OSError, FileExistsError, Refused.
    """
    if os.path.lexists(path):
        raise FileExistsError(f"{path} is there already")
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with file.NewFile(directory) as new:
            request = {
                "request": "core", "enclaves": enclaves.value,
                "first": [first.tcs, first.index, first.image.hex()] if first else None,
                "exception": dict(exception or {}),
                "images": {str(base): name for base, name in (images or {}).items()},
            }  # fmt: skip
            control.ask(pid, request, [new.fd])
            new.name(path.name)
    finally:
        os.close(directory)


def _first(tcs: int, index: int, image: str) -> First:
    return First(int(tcs), int(index), bytes.fromhex(image))


def dump(sup: Supervisor, request: dict[str, Any], descriptors: list[int]) -> dict[str, Any]:
    """The supervisor's side.  Raises Refused."""
    try:
        pid, enclaves, (fd,) = request["pid"], Enclaves(request["enclaves"]), descriptors
        first = _first(*request["first"]) if request["first"] else None
        given = {int(base): str(name) for base, name in request["images"].items()}
        exception = dict(request["exception"])
    except (KeyError, ValueError, TypeError, AttributeError):
        raise Refused("the request is none for a core: of another version of enclu?") from None
    task = next((t for t in sup.threads.values() if t.process.tgid == pid and t.tid == pid and not t.exiting), None)
    task = task or next((t for t in sup.threads.values() if pid in (t.process.tgid, t.tid) and not t.exiting), None)
    if task is None:
        raise Refused(f"there is no process {pid} in the run")
    heard = sup.cores.known if sup.cores is not None else Known(Images(sup.kernel))
    heard = Known(Images(sup.kernel, {**heard.images.by_base(), **given}), heard.exceptions)
    try:
        write(sup, task, fd, Cause(exception=exception), enclaves, heard, first=first)
    except NotDumpable as why:
        raise Refused(f"process {pid} has no core, {why}") from None
    except ThreadGone:
        raise Refused(f"process {pid} has been killed meanwhile") from None
    except OSError as error:
        raise Refused(f"the core of process {pid} cannot be written: {error.strerror}") from None
    return {}
