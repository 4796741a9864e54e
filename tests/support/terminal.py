"""A terminal of one's own: a program or an interactive shell on a pty, typed at and read from."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Sequence

from tests.support.runs import PATIENCE, RUN, Marked

PROMPT = "prompt>"
CTRL_C, CTRL_D, CTRL_BACKSLASH, CTRL_Z = b"\x03", b"\x04", b"\x1c", b"\x1a"


def _lead_session() -> None:
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


class Terminal:
    """A command in a session of its own whose controlling terminal is a pty."""

    def __init__(self, command: Sequence[str], processes: Marked, **variables: str) -> None:
        self.master, self.slave = pty.openpty()
        self.resize(24, 200)
        env = processes.environment(
            **{"TERM": "dumb", "PS1": PROMPT, "ENCLU": " ".join(RUN), "HISTFILE": "", **variables}
        )
        self.process = subprocess.Popen(
            command, stdin=self.slave, stdout=self.slave, stderr=self.slave, env=env, preexec_fn=_lead_session
        )
        self._text = ""

    @classmethod
    def shell(cls, processes: Marked) -> Terminal:
        """An interactive bash; `$ENCLU` is `enclu run`."""
        terminal = cls(["bash", "--norc", "--noprofile", "-i"], processes)
        terminal.expect(PROMPT)
        return terminal

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("<HHHH", rows, columns, 0, 0))

    def attributes(self) -> list[object]:
        return termios.tcgetattr(self.slave)

    def foreground(self) -> int:
        """The process group that has the terminal."""
        return os.tcgetpgrp(self.master)

    def press(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def type(self, line: str) -> None:
        self.press(line.encode() + b"\n")

    def command(self, line: str) -> str:
        """Type a command into the shell; what comes until the next prompt."""
        self.type(line)
        return self.until_prompt()

    def until_prompt(self) -> str:
        return self.expect(PROMPT)

    def expect(self, pattern: str) -> str:
        """Wait for output that matches; everything up to it and it itself, which will not be seen again."""
        end = time.monotonic() + PATIENCE
        while True:
            found = re.search(pattern, self._text)
            if found:
                seen, self._text = self._text[: found.end()], self._text[found.end() :]
                return seen
            left = end - time.monotonic()
            assert left > 0 and select.select([self.master], [], [], left)[0], f"no {pattern!r} in {self._text!r}"
            try:
                data = os.read(self.master, 65536)
            except OSError:  # EIO: nobody has the terminal open any more
                data = b""
            assert data, f"no {pattern!r} in {self._text!r}, and the terminal is closed"
            self._text += data.decode(errors="replace").replace("\r\n", "\n")

    def hang_up(self) -> None:
        """Close the window."""
        os.close(self.slave)
        os.close(self.master)
        self.master = self.slave = -1

    def close(self) -> None:
        if self.master >= 0:
            self.hang_up()
        self.process.kill()
        self.process.wait()
