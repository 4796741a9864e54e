"""gdb and a program's own code: breakpoints, steps, signals, threads, ends."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.run.conftest import compile_c
from tests.run.gdb.conftest import Debug


def test_a_breakpoint_stops_the_program_and_it_ends_as_without(debug: Debug) -> None:
    session = debug("break twice\ncontinue\nprint number\nbt\ncontinue\n", "twice")
    session.expect(r"^Breakpoint 1, twice \(number=", r"^\$1 = 21", r"^#1 .* main", r"exited with code 03")
    assert (session.status, session.stdout) == (3, "twice 42\n")


def test_registers_are_read_and_written(debug: Debug) -> None:
    session = debug("break twice\ncontinue\nprint $rdi\nset $rdi = 5\nprint $cs\np $rip == &twice\ncontinue\n", "twice")
    session.expect(r"^\$1 = 21", r"^\$2 = 51", r"^\$3 = 1")
    assert session.stdout == "twice 10\n"


def test_vector_and_x87_registers_are_read_and_written(debug: Debug) -> None:
    session = debug(
        "break twice\ncontinue\nset $xmm3.v4_int32 = {1, 2, 3, 4}\nset $st0 = 2.5\nset $ymm5.v8_int32[7] = 9\nstepi\n"
        "print $xmm3.v4_int32\nprint $ymm5.v8_int32[7]\nprint $mxcsr\nprint $fctrl\ncontinue\n",
        "twice",
    )
    session.expect(r"^\$1 = \{1, 2, 3, 4\}", r"^\$2 = 9", r"^\$3 = \[ IM DM ZM OM UM PM \]", r"^\$4 = 895")


def test_memory_is_written(debug: Debug) -> None:
    session = debug("break twice\ncontinue\nset var go_on = 1\nprint go_on\ncontinue\n", "twice", "wait")
    session.expect(r"^\$1 = 1", "exited with code 03")


def test_memory_that_is_not_there_is_an_error(debug: Debug) -> None:
    session = debug("break twice\ncontinue\nx/gx 16\n", "twice", end=False)
    session.expect(r"Cannot access memory at address 0x10")


def test_breakpoints_are_not_seen_in_memory(debug: Debug) -> None:
    session = debug("break twice\nbreak here\ncontinue\ncontinue\nx/1xb $pc\nx/2i $pc\ncontinue\n", "twice")
    assert "0xcc" not in session.output.lower()


def test_steps_go_instruction_by_instruction_and_line_by_line(debug: Debug) -> None:
    session = debug("break wait_for\ncontinue\nset $before = $pc\nstepi\nprint $pc != $before\nnext\nnext\n", "fork")
    session.expect("waitpid", r"^\$1 = 1", "printf", "^main ")


def test_a_step_over_a_system_call_has_its_result(debug: Debug) -> None:
    session = debug(
        "catch load libc\nbreak getppid\ncontinue\nbreak twice\ncontinue\nprint (int) getppid() > 0\ncontinue\n",
        "twice",
    )
    session.expect(r"^\$1 = 1", "exited with code 03")


def test_functions_of_the_program_are_called(debug: Debug) -> None:
    session = debug("break here\ncontinue\nprint twice(8)\nkill\n", "twice")
    session.expect(r"^\$1 = 16")


def test_a_signal_is_told_and_passed_on(debug_after_entry: Debug) -> None:
    session = debug_after_entry("continue\nprint $_siginfo.si_signo\nbt\ncontinue\n", "handle", "signal")
    session.expect(r"received signal SIGUSR1", r"^\$1 = 10", r"raise", "exited with code 03")
    assert session.stdout == "handled 1\n"


def test_a_signal_is_dropped_where_gdb_is_told_so(debug_after_entry: Debug) -> None:
    session = debug_after_entry("handle SIGUSR1 nopass\ncontinue\ncontinue\n", "handle", "signal")
    session.expect(r"received signal SIGUSR1", "exited with code 03")
    assert session.stdout == "handled 0\n"


def test_a_signal_is_passed_without_a_word_where_gdb_is_told_so(debug_after_entry: Debug) -> None:
    session = debug_after_entry("handle SIGUSR1 nostop noprint pass\ncontinue\n", "handle", "signal")
    assert "SIGUSR1," not in session.output
    assert session.stdout == "handled 1\n"


def test_a_signal_is_sent_by_gdb(debug_after_entry: Debug) -> None:
    session = debug_after_entry(
        "break twice\ncontinue\ndelete\nbreak count\nsignal SIGUSR1\nbt\n", "handle", "twice", end=False
    )
    session.expect("Breakpoint 2, count", "signal handler called", "twice")


def test_a_step_enters_a_handler(debug_after_entry: Debug) -> None:
    session = debug_after_entry("break count\ncontinue\ncontinue\nbt\nfinish\ncontinue\n", "handle", "signal")
    session.expect(r"^Breakpoint 1, count", r"signal handler called", r"raise")
    assert session.stdout == "handled 1\n"


def test_a_crash_is_told_and_ends_the_program(debug: Debug) -> None:
    session = debug("continue\nprint $_siginfo._sifields._sigfault.si_addr\ncontinue\n", "crash")
    session.expect(r"received signal SIGSEGV", r"main", r"^\$1 = .*0x8", r"terminated with signal SIGSEGV")
    assert session.status == -signal.SIGSEGV


def test_threads_are_listed_and_stop_together(debug_after_entry: Debug) -> None:
    session = debug_after_entry(
        'break here if $_streq(what, "in a thread")\ncontinue\ninfo threads\nthread apply all bt 1\ndelete\ncontinue\n',
        "threads",
    )
    session.expect(r"hit Breakpoint 1|Breakpoint 1, here", r"Thread \d+\.\d+ .debuggee", "exited with code 03")


def test_every_thread_meets_the_breakpoint(debug_after_entry: Debug) -> None:
    session = debug_after_entry("break worker\n" + "continue\n" * 4, "threads")
    assert session.output.count("Breakpoint 1, worker") == 3
    session.expect("exited with code 03")


def test_a_hardware_breakpoint_stops(debug: Debug) -> None:
    session = debug("hbreak twice\ncontinue\nbt 1\ncontinue\n", "twice")
    session.expect(r"Breakpoint 1, twice", "exited with code 03")


def test_a_watchpoint_tells_who_writes_in_any_thread(debug_after_entry: Debug) -> None:
    session = debug_after_entry("watch watched\ncontinue\ndelete\ncontinue\n", "threads")
    session.expect(r"Hardware watchpoint 1: watched", r"New value = [123]", "worker", "exited with code 03")


def test_a_watchpoint_for_reads_stops(debug: Debug) -> None:
    session = debug("awatch handled\ncontinue\nbt 2\ndelete\ncontinue\n", "handle", "twice", "signal")
    session.expect("Hardware access .read.write. watchpoint", "SIGUSR1")


def test_no_more_is_watched_than_there_are_debug_registers(debug: Debug) -> None:
    watches = "".join(f"watch *((long *) &enclave + {i})\n" for i in range(5))
    session = debug(f"{watches}continue\n", "twice", end=False)
    session.expect("Could not insert hardware|Could not insert|insufficient|Cannot insert")


def test_a_forked_child_goes_on_by_itself(debug_after_entry: Debug) -> None:
    session = debug_after_entry("break twice\ncontinue\n", "fork")
    session.expect("exited with code 03")
    assert session.stdout == "child 3\n"


def test_a_forked_child_is_followed(debug_after_entry: Debug) -> None:
    session = debug_after_entry("set follow-fork-mode child\nbreak twice\ncontinue\nprint number\ncontinue\n", "fork")
    session.expect(r"Breakpoint 1, twice|hit Breakpoint 1", r"^\$1 = 2", r"exited with code 03")


def test_parent_and_child_are_debugged_together(debug_after_entry: Debug) -> None:
    session = debug_after_entry(
        "set detach-on-fork off\nset schedule-multiple on\nbreak twice\ncontinue\nprint number\ncontinue\n"
        "info inferiors\nkill inferiors 1\n",
        "fork",
        end=False,
    )
    session.expect(r"Breakpoint 1, twice|hit Breakpoint 1", r"^\$1 = 2", r"exited with code 03")


def test_a_spawned_child_goes_on_by_itself(debug_after_entry: Debug) -> None:
    session = debug_after_entry("break twice\ncontinue\ncontinue\n", "spawn", "twice")
    session.expect("Breakpoint 1, twice", "exited with code 03")
    assert session.stdout == "child 4\ntwice 42\n"


def test_exec_is_followed(debug_after_entry: Debug) -> None:
    session = debug_after_entry("catch exec\ncontinue\ninfo registers rip\ncontinue\n", "exec")
    session.expect(r"Catchpoint 1 \(exec'd .*sh", r"rip", r"exited with code 011")
    assert session.status == 9


def test_kill_ends_the_program(debug: Debug) -> None:
    session = debug("break twice\ncontinue\nkill\n", "twice")
    assert session.status == -signal.SIGKILL


def test_a_process_that_shares_memory_meets_no_breakpoint(debug_after_entry: Debug) -> None:
    session = debug_after_entry("break twice\ncontinue\ncontinue\n", "clone", "twice")
    assert session.output.count("Breakpoint 1, twice") == 1
    assert session.stdout == "child 8\ntwice 42\n"


def test_a_program_that_has_no_dynamic_linker_is_debugged(debug: Debug, work: Path) -> None:
    source, program = work / "static.c", work / "static"
    source.write_text("int twice(int n) { return 2 * n; }\nint main(int c, char **v) { return twice(c + 2); }\n")
    compile_c("-g", "-O0", "-static", source, "-o", program)
    session = debug("break twice\ncontinue\nfinish\ncontinue\n", program=program)
    session.expect(r"Breakpoint 1, twice \(n=3\)", r"Value returned is \$1 = 6", "exited with code 06")


def test_a_trace_is_written_besides(debug: Debug, place: Path) -> None:
    options = ("--trace", str(place / "log"))
    session = debug("break twice\ncontinue\ncontinue\n", "load", "add", "twice", options=options)
    session.expect("Breakpoint 1, twice", "exited with code 03")
    assert "EENTER" in (place / "log").read_text()


def test_that_the_only_thread_that_was_to_run_has_ended_is_told(debug_after_entry: Debug) -> None:
    script = (
        "break worker\ncontinue\ndelete\nset var go_on = 1\nset scheduler-locking on\ncontinue\n"
        "set scheduler-locking off\nthread 1\ncontinue\n"
    )
    session = debug_after_entry(script, "threads")
    session.expect("No unwaited-for children left", "exited with code 03")
