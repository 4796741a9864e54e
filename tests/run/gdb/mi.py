"""Debian's gdb as front ends drive it: by the machine interface (GDB manual, chapter "GDB/MI")."""

from __future__ import annotations

import itertools
import os
import queue
import re
import shutil
import subprocess
import threading
from types import TracebackType

import pytest

from tests.support.runs import PATIENCE

_RECORD = re.compile(r"(\d*)([\^*=])(.*)")


class Mi:
    """A gdb that waits for commands; what it says is read as it comes."""

    def __init__(self) -> None:
        if shutil.which("gdb") is None:
            pytest.fail("gdb is missing (apt-get install gdb)", pytrace=False)
        self._process = subprocess.Popen(
            ["gdb", "--interpreter=mi", "-nx", "-q"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, env={**os.environ, "DEBUGINFOD_URLS": "", "LC_ALL": "C.UTF-8"},
        )  # fmt: skip
        self._lines: queue.Queue[str] = queue.Queue()
        self._tokens = itertools.count(1000)
        self._stops: list[str] = []
        self.log: list[str] = []
        """All that was said, by both."""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Mi:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put("")

    def _next(self) -> tuple[str, str, str]:
        """The next record: token, kind and content."""
        while True:
            try:
                line = self._lines.get(timeout=PATIENCE)
            except queue.Empty:
                raise AssertionError("gdb says nothing more:\n" + "\n".join(self.log)) from None
            self.log.append(line)
            record = _RECORD.fullmatch(line)
            if record is not None:
                return record[1], record[2], record[3]
            assert line or self._process.poll() is None, "gdb has ended:\n" + "\n".join(self.log)

    def ask(self, command: str, result: str = "done") -> str:
        """A command and what it results in, which is of the class `result`."""
        token = str(next(self._tokens))
        self.log.append(token + command)
        assert self._process.stdin is not None
        self._process.stdin.write(f"{token}{command}\n")
        self._process.stdin.flush()
        while True:
            whose, kind, content = self._next()
            if kind == "*" and content.startswith("stopped"):
                self._stops.append(content)
            elif kind == "^" and whose == token:
                assert content.split(",")[0] == result, "\n".join(self.log)
                return content

    def console(self, command: str) -> str:
        """A command of gdb's command line; what it prints."""
        before = len(self.log)
        self.ask(f'-interpreter-exec console "{command}"')
        printed = (line for line in self.log[before:] if line.startswith('~"'))
        return "".join(line[2:-1].encode().decode("unicode_escape") for line in printed)

    def evaluated(self, expression: str) -> str:
        return value(self.ask(f'-data-evaluate-expression "{expression}"'), "value")

    def stopped(self) -> str:
        """The next stop."""
        while not self._stops:
            _, kind, content = self._next()
            if kind == "*" and content.startswith("stopped"):
                self._stops.append(content)
        return self._stops.pop(0)

    def go(self, command: str) -> str:
        """A command that lets the program run; the stop that follows."""
        self.ask(command, "running")
        return self.stopped()

    def end(self) -> None:
        """-gdb-exit, and wait for that."""
        self.ask("-gdb-exit", "exit")
        self._process.wait(PATIENCE)


def value(content: str, name: str) -> str:
    """Of the first result of that name."""
    found = re.search(rf'\b{name}="((?:[^"\\]|\\.)*)"', content)
    assert found is not None, f"no {name} in {content}"
    return found[1]
