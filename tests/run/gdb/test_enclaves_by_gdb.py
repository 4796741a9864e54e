"""gdb and enclaves, under three designs: the same session whatever becomes of exceptions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.run.gdb.conftest import ADDED, DESIGNS, TO_THE_END, Debug, under

BODY = "set breakpoint pending on\nbreak encl_body\n"
HANDLER = "break *&encl_entry if $rax == 1\n"
"""The enclave's own handler, for exceptions of what has been entered at CSSA 0."""
PAST_POPF = "if *(unsigned char *) $pc == 0x9c\nadvance *($pc + 9)\nelse\nstepi\nend\n"
"""A step, but from PUSHF to behind the POPF of the tests' host library: by a step over POPF, Linux leaves TF set."""
LOADED = 'break here if $_streq(what, "loaded")\ncontinue\ndelete\n'

pytestmark = pytest.mark.parametrize("design", DESIGNS)


def test_a_breakpoint_in_an_enclave_stops_before_it_is_loaded(debug: Debug, design: str) -> None:
    session = debug(f"{BODY}continue\nbt 2\nprint *request\ncontinue\n", "load", "add", options=under(design))
    session.expect(r"Breakpoint 1, encl_body .*body.c", r"^#1 .* enter_body", r"a = 20, b = 3", "exited with code 03")
    assert session.stdout == "function 4 vector 0 result 23\n"


def test_lines_of_an_enclave_are_stepped_through_and_values_changed(debug: Debug, design: str) -> None:
    script = f"{BODY}continue\nnext\nnext\nnext\nset var request->b = 4\ncontinue\n"
    session = debug(script, "load", "add", options=under(design))
    session.expect(r"^\d+\s+request->cssa = cssa", r"^\d+\s+switch", r"request->a \+ request->b")
    assert session.stdout == "function 4 vector 0 result 24\n"


def test_eenter_is_stepped_into(debug: Debug, design: str) -> None:
    script = (
        f"{LOADED}set $entry = (long) &encl_entry\nbreak attempt\ncontinue\nset $steps = 0\n"
        "while $pc != $entry && $steps < 3000\nstepi\nset $steps = $steps + 1\nend\n"
        'printf "at the entry: %d, RAX %d\\n", $pc == $entry, $rax\ndelete\ncontinue\n'
    )
    session = debug(script, "load", "add", options=under(design))
    session.expect(r"at the entry: 1, RAX 0", "exited with code 03")


def test_eexit_is_stepped_out_of(debug: Debug, design: str) -> None:
    script = (
        f"{BODY}continue\nfinish\nset $base = (long) &encl_base\nset $steps = 0\n"
        "while $pc >= $base && $pc < $base + 0x40000 && $steps < 100\nstepi\nset $steps = $steps + 1\nend\n"
        'printf "outside: %d, RAX %d\\n", $steps < 100, $rax\ndelete\ncontinue\n'
    )
    session = debug(script, "load", "add", options=under(design))
    session.expect(r"outside: 1, RAX 4", "exited with code 03")


def test_a_breakpoint_of_the_program_outlives_an_enclave_around_it(
    debug: Debug, program: Callable[[str], Path], design: str
) -> None:
    script = f"break attempt\ncontinue\nbt 1\ndelete\n{TO_THE_END}"
    session = debug(script, program=program("elrange"), options=under(design))  # its ELRANGEs have all addresses
    session.expect(r"^Breakpoint 1, attempt", "exited normally")


def test_an_exception_is_told_at_its_instruction_with_its_reason(debug: Debug, design: str) -> None:
    session = debug("continue\nx/i $pc\nbt 1\ncontinue\n", "load", "ud2", options=under(design))
    session.expect(
        r"^enclu: enclave 1 \+ 0x[0-9a-f]+: #UD: ", "received signal SIGILL", r"encl_body .*body.c", r"ud2",
        "exited with code 03",
    )  # fmt: skip
    assert session.stdout == "function 3 vector 6 result 0\n"


def test_a_page_fault_is_told_with_address_and_error_code(debug: Debug, design: str) -> None:
    session = debug("continue\nprint request->a\ncontinue\n", "load", "bad-read", options=under(design))
    session.expect(r"#PF at 0x1000, error code 0x4: ", "received signal SIGSEGV", r"^\$1 = 4096", "exited with code 03")
    assert session.stdout == "function 3 vector 14 result 0\n"


def test_registers_of_an_interrupted_thread_are_in_its_ssa(debug: Debug, design: str) -> None:
    script = "continue\nprint $pc\nmonitor sgx ssa\nmonitor sgx last\nmonitor sgx epcm $_siginfo\ncontinue\n"
    session = debug(script, "load", "div0", options=under(design))
    session.expect(
        r"received signal SIGFPE", r"^SSA frame at 0x", r"^rip    0x", r"EXITINFO 0x80000300: #DE",
        r"enclave 1 \+ 0x[0-9a-f]+: #DE", "exited with code 03",
    )  # fmt: skip


def test_an_exception_is_put_right_by_changed_registers(debug: Debug, design: str) -> None:
    script = "continue\nset $pc = $pc + 2\nsignal 0\n"
    session = debug(script, "load", "ud2", options=under(design))
    assert session.stdout == "function 4 vector 0 result 0\n"


def test_a_breakpoint_in_an_enclaves_own_handler_is_met_after_an_exception(debug: Debug, design: str) -> None:
    script = f"{LOADED}{HANDLER}continue\ncontinue\nprint $rbx == (long) &encl_base\ncontinue\n"
    session = debug(script, "load", "repair", options=under(design))
    session.expect(r"#UD: ", "received signal SIGILL", "^Breakpoint 2, encl_entry", r"^\$1 = 1", "exited with code 03")
    assert session.stdout == "repaired at CSSA 1 function 4\n"


def test_instructions_of_an_enclaves_own_handler_are_stepped_through(debug: Debug, design: str) -> None:
    script = (
        f"handle SIGILL nostop noprint pass\n{LOADED}{HANDLER}continue\nset $entry = $pc\nstepi\nstepi\n"
        "print $pc - $entry\nprint $r10 == (long) &encl_base && $r11 == $rbx\ncontinue\n"
    )
    session = debug(script, "load", "repair", options=under(design))
    session.expect("^Breakpoint 2, encl_entry", r"^\$1 = 10", r"^\$2 = 1", "exited with code 03")  # LEA and MOV
    assert session.stdout == "repaired at CSSA 1 function 4\n"


def test_an_exception_is_stepped_across_to_behind_its_instruction(debug: Debug, design: str) -> None:
    script = (
        "continue\nset $behind = $pc + 2\nset $steps = 0\nset $at = -1\nwhile $pc != $behind && $steps < 3000\n"
        f"{PAST_POPF}if $pc == (long) &encl_entry\nset $at = $rax\nend\nset $steps = $steps + 1\nend\n"
        'printf "behind: %d, handled at CSSA %d\\n", $pc == $behind, $at\nbt 1\ncontinue\n'
    )
    session = debug(script, "load", "repair", options=under(design))
    session.expect("received signal SIGILL", "^behind: 1, handled at CSSA 1", "^#0 .*encl_body", "exited with code 03")
    assert session.stdout == "repaired at CSSA 1 function 4\n"


def test_a_step_that_a_signal_interrupts_ends_behind_its_instruction(debug: Debug, design: str) -> None:
    script = (
        f"handle SIGUSR1 nostop noprint pass\n{LOADED}set $pid = (int) getpid()\nbreak encl_body\ncontinue\ndelete\n"
        'eval "shell kill -USR1 %d", $pid\nprint handled\nx/2i $pc\nstepi\nx/i $pc\nprint handled\ncontinue\n'
    )
    session = debug(script, "handle", "load", "add", options=under(design))
    session.expect(
        r"^\$1 = 0", r"^=> 0x\w+ <encl_body.*\n +(0x\w+) <encl_body(?:.*\n)*?=> \1 ", r"^\$2 = 1", "exited with code 03"
    )
    assert session.stdout == ADDED


def test_a_hardware_breakpoint_in_an_enclave_is_met(debug: Debug, design: str) -> None:
    session = debug(f"{LOADED}hbreak encl_body\ncontinue\nbt 2\ncontinue\n", "load", "add", options=under(design))
    session.expect("^Hardware assisted breakpoint 2", r"Breakpoint 2, encl_body .*body.c", r"^#1 .* enter_body",
                   "exited with code 03")  # fmt: skip
    assert session.stdout == ADDED


def test_a_breakpoint_goes_with_its_enclave_and_comes_with_the_next(debug: Debug, design: str) -> None:
    session = debug(f"{BODY}continue\ncontinue\nbt 1\ncontinue\n", "load", "add", "unload", "load", "add",
                    options=under(design))  # fmt: skip
    assert session.output.count("Breakpoint 1, encl_body") == 2
    session.expect("exited with code 03")


def test_a_watchpoint_tells_of_an_enclave_that_writes_outside(debug: Debug, design: str) -> None:
    session = debug(f"{LOADED}watch watched\ncontinue\ndelete\ncontinue\n", "load", "outside", options=under(design))
    session.expect("Hardware watchpoint", "New value = 5", "encl_body", "exited with code 03")


def test_a_watchpoint_tells_of_memory_of_an_enclave(debug: Debug, design: str) -> None:
    script = f"{LOADED}watch *(long *) (enclave.base + enclave.heap)\ncontinue\nx/i $pc\ndelete\ncontinue\n"
    session = debug(script, "load", "write", options=under(design))
    session.expect("Hardware watchpoint", "New value = 77", "encl_body", "exited with code 03")


def test_a_thread_that_spins_in_an_enclave_is_stepped(debug: Debug, design: str) -> None:
    script = (
        'break here if $_streq(what, "spinning")\ncontinue\nthread apply all info registers rip\ninfo threads\n'
        "thread 2\nstepi\nstepi\nstepi\ndelete\ncontinue\n"
    )
    session = debug(script, "load", "spin", options=under(design))
    session.expect(r"in enclave 1, TCS 0x", "encl_body", "exited with code 03")
    assert session.stdout == "function 4\n"


def test_a_production_enclave_is_opaque(debug: Debug, design: str) -> None:
    script = (
        'break here if $_streq(what, "spinning")\ncontinue\nthread 2\nprint $rax\nprint $rbx == spinner.tcs\n'
        "x/2gx enclave.base + enclave.text\nprint $r12\nset $r12 = 4\nset *(long *) enclave.base = 1\ndelete\n"
        "thread 1\ncontinue\n"
    ).replace("spinner.tcs", "$rbx")
    session = debug(script, "production", "spin", options=under(design), end=False)
    session.expect(r"^\$1 = 3", r"0xffffffffffffffff\s+0xffffffffffffffff", r"^\$3 = 0")
    assert "encl_body" not in session.output


def test_a_leaf_that_faults_is_told_of_with_its_reason(debug: Debug, design: str) -> None:
    session = debug("continue\nmonitor sgx last\ncontinue\n", "load", "bad-tcs", options=under(design))
    if design == "signal":
        session.expect(r"^enclu: EENTER tcs=0x[0-9a-f]+: #PF", "received signal SIGSEGV")
    assert session.status == 3


def test_monitor_shows_enclaves_tcses_and_the_epcm(debug: Debug, design: str) -> None:
    script = f'{LOADED}monitor sgx\nmonitor sgx tcs\neval "monitor sgx epcm %lu", (long) &encl_body\n'
    session = debug(script, "load", options=under(design), end=False)
    session.expect(r"^enclave 1: 0x.*, debug, attributes 0x7", "file /.*debug-enclave.elf", "^TCS 0x.*CSSA 0 of 3",
                   r"enclave 1 \+ 0x4000: PT_REG R-X at", "mapped R-X")  # fmt: skip


def test_symbols_are_added_by_the_command_that_monitor_tells(debug: Debug, design: str) -> None:
    script = f'{LOADED}eval "monitor sgx add-symbols %s", getenv("ENCLU_TEST_ENCLAVE")\nprint &encl_base\n'
    session = debug(script, "load", options=under(design), end=False)
    session.expect(r"^add-symbol-file /.*debug-enclave.elf -o 0x[0-9a-f]+000$")


def test_breakpoints_are_met_in_pages_that_have_been_evicted(debug: Debug, design: str) -> None:
    script = f"{BODY}ignore 1 100000\ncontinue\ninfo breakpoints\n"
    session = debug(script, "fill", options=("--stats=json", "--epc", "1M", *under(design)))
    session.expect("exited with code 03", "already hit 1200 times")
    assert session.stdout == "sum 44850\n"
    assert '"reloads": 0' not in session.stderr
