"""gdb driven as Visual Studio Code's C++ debugger drives it, command by command, by the launch.json of the documents.

What its settings come to is Microsoft's MIEngine's: src/MIDebugEngine/Engine.Impl/DebuggedProcess.cs, where it launches
and where it is in break mode, and src/MICore/CommandFactories.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest

from enclu.run.gdb import in_gdb
from tests.run.conftest import C_SOURCES, ROOT
from tests.run.gdb.conftest import started
from tests.run.gdb.mi import Mi, value
from tests.support.runs import HANGS, PATIENCE

BODY = C_SOURCES / "enclaves" / "body.c"


def launch_json() -> dict[str, Any]:
    """The example in docs/debugging.md, with the path that users are told to put into it."""
    (found,) = re.findall(r"```json\n(.*?)```", (ROOT / "docs" / "debugging.md").read_text(), re.DOTALL)
    example: dict[str, Any] = json.loads(found.replace("/PATH/in_gdb.py", str(in_gdb.__file__)))
    return example


class Launched:
    """A session of the front end, at the entry of main."""

    def __init__(self, mi: Mi, process: subprocess.Popen[str], server: str, debuggee: Path, *breakpoints: str) -> None:
        self.mi, self.process = mi, process
        setup = [f'-interpreter-exec console "{command["text"]}"' for command in launch_json()["setupCommands"]]
        for command in (
            "-gdb-set mi-async on", "-list-features", *setup, '-interpreter-exec console "set pagination off"',
            '-interpreter-exec console "set debuginfod enabled off"', "-gdb-set auto-solib-add on",
            f"-gdb-set solib-search-path {debuggee.parent}:", "-gdb-set stop-on-solib-events 1",
            f"-environment-cd {debuggee.parent}", f"-file-exec-and-symbols {debuggee}",
            '-interpreter-exec console "show architecture"',
        ):  # fmt: skip
            mi.ask(command)
        main = value(mi.ask("-break-insert -f main"), "number")
        mi.ask(f"-target-select remote {server}", "connected")
        self.broken(mi.stopped())
        for place in breakpoints:
            mi.ask(f"-break-insert -f {place}")
        assert value(self.go("-exec-continue"), "reason") == "solib-event"
        mi.ask("-gdb-set stop-on-solib-events 0")
        assert value(self.go("-exec-continue"), "bkptno") == main
        mi.ask(f"-break-delete {main}")

    def go(self, command: str) -> str:
        """Until the next stop, and what is asked there."""
        return self.broken(self.mi.go(command))

    def broken(self, stop: str) -> str:
        """What is asked at each stop."""
        mi = self.mi
        if "thread-id" not in stop:
            return stop  # it has ended
        self.thread = value(stop, "thread-id")
        mi.console("info sharedlibrary")
        threads = mi.ask("-thread-info")
        self.threads, self.ids = re.findall(r'details="([^"]*)"', threads), re.findall(r'{id="(\d+)"', threads)
        mi.ask(f"-stack-info-depth --thread {self.thread} 1000")
        frames = mi.ask(f"-stack-list-frames --thread {self.thread} 0 1000")
        self.frames = re.findall(r'func="([^"]*)"', frames)
        mi.ask(f"-stack-list-arguments --thread {self.thread} 0 0 0")
        return stop

    def end_by(self, command: str) -> None:
        """The program ends."""
        assert value(self.mi.go(command), "reason") in ("exited", "exited-normally")

    def output(self) -> str:
        """All that the program has printed, once it has ended."""
        return self.process.communicate(timeout=HANGS)[0]

    def evaluate(self, expression: str, frame: int = 0) -> str:
        """As the windows for watches and hovering do it."""
        made = self.mi.ask(f'-var-create --thread {self.thread} --frame {frame} - * "{expression}"')
        name = value(made, "name")
        self.mi.ask(f"-var-show-attributes {name}")
        if value(made, "numchild") != "0":
            self.mi.ask(f'-var-list-children --simple-values "{name}" 0 1000')
        self.mi.ask(f"-var-delete {name}")
        return value(made, "value")

    def expand(self, expression: str) -> dict[str, str]:
        """The members of a structure."""
        made = self.mi.ask(f'-var-create --thread {self.thread} --frame 0 - * "{expression}"')
        children = self.mi.ask(f'-var-list-children --simple-values "{value(made, "name")}" 0 1000')
        return dict(re.findall(r'exp="([^"]*)",numchild="0",value="([^"]*)"', children))

    def interrupt(self) -> str:
        """The button that pauses."""
        self.mi.ask("-exec-interrupt")
        return self.broken(self.mi.stopped())


class Launch(Protocol):
    def __call__(self, *words: str, breakpoints: tuple[str, ...] = ...) -> Launched: ...


@pytest.fixture
def launch(place: Path, program: Callable[[str], Path], enclave_environment: dict[str, str]) -> Iterator[Launch]:
    """launch(*words, breakpoints=...): the program debuggee, told to do `words`, has come to main()."""
    with ExitStack() as stack:

        def begin(*words: str, breakpoints: tuple[str, ...] = ()) -> Launched:
            debuggee = program("debuggee")
            process = stack.enter_context(started(place, debuggee, *words, at="0", env=enclave_environment))
            found = re.search(r"target remote \S*:(\d+)$", (place / "stderr").read_text(), re.MULTILINE)
            assert found is not None
            mi = stack.enter_context(Mi())
            return Launched(mi, process, f"localhost:{found[1]}", debuggee, *breakpoints)

        yield begin


def test_a_breakpoint_at_a_function_of_an_enclave_waits_for_its_file(launch: Launch) -> None:
    session = launch("load", "add", breakpoints=("encl_body",))
    assert 'pending="encl_body"' in "".join(session.mi.log)
    stop = session.go("-exec-continue")
    assert value(stop, "reason") == "breakpoint-hit" and value(stop, "func") == "encl_body"
    assert session.frames[0] == "encl_body" and session.frames[-1] == "main"
    assert re.match("debuggee, in enclave 1, TCS 0x", session.threads[0])


def test_a_breakpoint_at_a_line_of_an_enclave_waits_for_its_file(launch: Launch) -> None:
    line = next(n for n, text in enumerate(BODY.read_text().splitlines(), 1) if "request->a + request->b" in text)
    session = launch("load", "add", breakpoints=(f"{BODY}:{line}",))
    stop = session.go("-exec-continue")
    assert (value(stop, "fullname"), value(stop, "line")) == (str(BODY), str(line))


def test_values_in_an_enclave_are_shown_and_changed(launch: Launch) -> None:
    session = launch("load", "add", breakpoints=("encl_body",))
    session.go("-exec-continue")
    members = session.expand("*request")
    assert (members["a"], members["b"]) == ("20", "3")
    assert session.evaluate("request->a * 2") == "40"
    made = session.mi.ask(f'-var-create --thread {session.thread} --frame 0 - * "request->b"')
    session.mi.ask(f'-var-assign {value(made, "name")} "5"')
    session.end_by("-exec-continue")
    assert session.output() == "function 4 vector 0 result 25\n"


def test_steps_go_over_into_and_out_of_lines_of_an_enclave(launch: Launch) -> None:
    session = launch("load", "add", breakpoints=("encl_body",))
    lines = [int(value(session.go("-exec-continue"), "line"))]
    for command in ("-exec-next", "-exec-next", "-exec-step"):
        stop = session.go(f"{command} --thread {session.thread}")
        assert value(stop, "reason") == "end-stepping-range" and session.frames[0] == "encl_body"
        lines.append(int(value(stop, "line")))
    assert lines == sorted(set(lines))
    stop = session.go(f"-exec-finish --thread {session.thread} --frame 0")
    assert value(stop, "reason") == "function-finished" and session.frames[0] == "enter_body"


def test_windows_for_registers_memory_and_instructions_have_those_of_the_enclave(launch: Launch) -> None:
    session = launch("load", "add", breakpoints=("encl_body",))
    address = value(session.go("-exec-continue"), "addr")
    mi = session.mi
    names = re.findall(r'"([^"]*)"', mi.ask("-data-list-register-names"))
    values = mi.ask(f"-data-list-register-values --thread {session.thread} --frame 0 x {names.index('rip')}")
    assert int(value(values, "value"), 16) == int(address, 16)
    assert mi.evaluated("request == $rdi") == "1"
    code = value(mi.ask(f"-data-read-memory-bytes {address} 16"), "contents")
    assert len(code) == 32 and set(code) != {"f"}
    shown = mi.ask(f"-data-disassemble -s {address} -e {address}+16 -- 2")
    assert value(shown, "func-name") == "encl_body" and "bad" not in shown


def test_an_exception_of_an_enclave_is_told_with_its_reason(launch: Launch) -> None:
    session = launch("load", "ud2")
    stop = session.go("-exec-continue")
    assert (value(stop, "reason"), value(stop, "signal-name")) == ("signal-received", "SIGILL")
    assert session.frames[0] == "encl_body"
    assert any(re.match(r'[~@]"enclu: enclave 1 \+ 0x[0-9a-f]+: #UD', line) for line in session.mi.log)
    session.end_by("-exec-continue")
    assert session.output() == "function 3 vector 6 result 0\n"


def test_a_running_program_is_paused_and_gets_a_breakpoint(launch: Launch) -> None:
    session = launch("load", "wait", "add")
    session.mi.ask("-exec-continue", "running")
    stop = session.interrupt()
    assert (value(stop, "reason"), value(stop, "signal-name")) == ("signal-received", "SIGINT")
    session.mi.ask("-break-insert -f encl_body")
    session.mi.evaluated("go_on = 1")
    assert value(session.go("-exec-continue"), "func") == "encl_body"


def test_a_thread_in_an_enclave_is_paused_there(launch: Launch) -> None:
    session = launch("load", "spin", breakpoints=('-c "$_streq(what, \\"spinning\\")" here',))
    session.go("-exec-continue")
    inside = [n for n, details in enumerate(session.threads) if "in enclave 1" in details]
    assert len(session.threads) == 2 and len(inside) == 1
    frames = session.mi.ask(f"-stack-list-frames --thread {session.ids[inside[0]]} 0 1000")
    assert re.findall(r'func="([^"]*)"', frames)[0] == "encl_body"


def test_the_program_goes_on_when_the_front_end_disconnects(launch: Launch) -> None:
    session = launch("load", "add", "twice", breakpoints=("encl_body",))
    session.go("-exec-continue")
    session.mi.ask("-target-detach")
    session.mi.end()
    assert session.output().endswith("result 23\ntwice 42\n")
    assert session.process.returncode == 3


def test_the_button_that_stops_kills_a_running_program(launch: Launch) -> None:
    session = launch("load", "wait")
    session.mi.ask("-exec-continue", "running")
    session.interrupt()
    session.mi.console("kill")
    session.mi.end()
    assert session.process.wait(PATIENCE) == -signal.SIGKILL


def test_the_front_end_starts_the_server_and_knows_when_it_listens(launch: Launch, place: Path) -> None:
    launch("load")
    said = (place / "stderr").read_text().splitlines()[0]
    example = launch_json()
    assert re.search(example["serverStarted"], said) and example["filterStderr"]
    assert example["debugServerArgs"].split()[:3] == ["run", "--gdb", example["miDebuggerServerAddress"].split(":")[1]]
