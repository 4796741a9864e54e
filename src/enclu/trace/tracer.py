"""One run's trace: who listens, and who writes what was heard, while the run goes on and after it."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from enclu.base import console
from enclu.base.events import Aex, EnclaveInitialised, EnclaveRemoved, Leaf, LeavesLost
from enclu.base.listeners import Events
from enclu.trace.calls import Calls, Convention
from enclu.trace.filters import Filter
from enclu.trace.forms import Form
from enclu.trace.spool import Leaves, Made, Spool
from enclu.trace.text import Text, Times

_LINES = 1000
"""Written at once, unless there are no more."""


@dataclass(frozen=True)
class Wanted:
    """What the user has asked for."""

    output: str | None = None
    """A file; None for standard error."""
    form: str | Callable[[list[str], str], Form] = "text"
    """One of FORMATS, or what makes another of the command and the design."""
    filter: Filter = field(default_factory=Filter)
    times: Times = Times.NONE
    lossy: bool = False
    """No leaf is to stop its thread for the trace: those for which there is no room are counted."""
    convention: Convention = field(default_factory=Convention)
    what: str = "trace"
    """For people."""


class Tracer:
    """Listens to the events of a run from its beginning."""

    def __init__(self, wanted: Wanted, command: list[str], design: str) -> None:
        """Raises OSError where the file cannot be made, Missing where a package is not there."""
        self._filter, self._lossy = wanted.filter, wanted.lossy
        self._calls = Calls(wanted.convention)
        self._form = _form(wanted, command, design)
        self._file = _create(wanted.output)
        self.what = wanted.what
        self._spool: Spool | None = None
        self._writer: threading.Thread | None = None

    @property
    def keep(self) -> tuple[int, ...]:
        """The descriptors that it writes to."""
        return (self._file.fileno(),)

    def listen(self, events: Events) -> None:
        """In the supervisor's process."""
        spool = self._spool = Spool()
        events.leaves.lossy = self._lossy
        events.listen(spool.event, *self._filter.kinds)
        if Leaf in self._filter.kinds:
            events.leaves.raw = spool.leaves
            events.listen(lambda event: spool.made(event, *_program(event.pid)), EnclaveInitialised)
            events.listen(spool.event, *(kind for kind in _OF_CALLS if kind not in self._filter.kinds))
        self._writer = threading.Thread(target=self._write, args=(spool,), name="trace", daemon=True)
        self._writer.start()

    def _write(self, spool: Spool) -> None:
        form, calls, wants = self._form, self._calls, self._filter.wants
        try:
            self._put()
            for happened in spool:
                if isinstance(happened, Leaves):
                    form.leaves(happened, self._filter.wants_leaf, calls)
                elif isinstance(happened, Made):
                    calls.made(happened)
                else:
                    call = calls.event(happened.name, happened.values)
                    if wants(happened.name, happened.values.get("leaf", "")):
                        form.event(happened, call)
                if form.waiting >= _LINES or not spool.more:
                    self._put()
                    if not spool.more:
                        spool.written()
            self._put()
        except OSError as error:  # a full disk, a reader that has gone: the program goes on
            console.say(f"the trace ends here: {error.strerror}")
        finally:
            spool.end()  # nobody is to wait for who does not read

    def _put(self) -> None:
        written = self._form.take()
        if written:  # else what could not be written at the end would be tried, and told, once more
            self._file.write(written)
            self._file.flush()

    def flush(self) -> None:
        """The run is over but for its last process: all that has happened is written when this returns."""
        if self._spool is not None:
            self._spool.flush()
            try:
                self._file.write(self._form.last())
                self._file.flush()
            except OSError as error:
                console.say(f"the {self.what} cannot be written: {error.strerror}")

    def end(self) -> None:
        """All that has happened is written when this returns."""
        if self._spool is not None and self._writer is not None:
            self._spool.end()
            self._writer.join()


_OF_CALLS = (Aex, EnclaveRemoved, LeavesLost)
"""What is to be known about leaves, to tell what they are for."""


def _form(wanted: Wanted, command: list[str], design: str) -> Form:
    if not isinstance(wanted.form, str):
        return wanted.form(command, design)
    if wanted.form == "json":
        from enclu.trace.json_lines import JsonLines

        return JsonLines(command, design)
    if wanted.form == "perfetto":
        from enclu.trace.perfetto import Perfetto

        return Perfetto()
    return Text(wanted.times)


def _program(pid: int) -> tuple[str, list[str]]:
    """The name of a process's executable, and files that it has mapped without executing them."""
    try:
        program = Path(os.readlink(f"/proc/{pid}/exe")).name
        maps = [line.split(None, 5) for line in Path(f"/proc/{pid}/maps").read_text(errors="replace").splitlines()]
    except OSError:  # it has ended
        return "", []
    files = [(fields[5], "x" in fields[1]) for fields in maps if len(fields) == 6 and fields[5].startswith("/")]
    executed = {file for file, executable in files if executable}
    return program, sorted({file for file, _ in files if file not in executed})


def _create(path: str | None) -> BinaryIO:
    """A file of the user's alone; what it had is gone."""
    if path is None:
        return os.fdopen(os.dup(console.STDERR), "wb")
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    status = os.fstat(fd)
    if stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid():
        os.fchmod(fd, 0o600)  # one that was there
    return open(fd, "wb")
