"""The pytest plugin, as users' test suites meet it: pytest in a process of its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.host.conftest import DESIGNS

pytest_plugins = ["pytester"]
ROOT = Path(__file__).resolve().parents[2]
ANSWER = """
#include "trusted.h"
uint64_t enclave_main(struct thread *thread, uint64_t function, void *argument)
{{ (void)thread; (void)function; (void)argument; return {answer}; }}
"""


@pytest.fixture
def suite(pytester: pytest.Pytester, image: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A test suite next to an enclave."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")])))
    for suffix in ("", ".sig"):
        (pytester.path / f"enclave.elf{suffix}").write_bytes(image.with_name(image.name + suffix).read_bytes())
    return pytester


def run(suite: pytest.Pytester, test: str, *arguments: str) -> pytest.RunResult:
    suite.makepyfile(test)
    return suite.runpytest_subprocess("-rA", "-p", "no:xdist", "-p", "no:hypothesispytest", *arguments)


def test_an_enclave_is_tested_in_two_lines(suite: pytest.Pytester) -> None:
    test = """
        def test_adds(enclave):
            assert enclave("enclave.elf").ecall(0, 41) == 42
    """
    run(suite, test).assert_outcomes(passed=1)


def test_c_files_are_built_and_signed_for_tests(suite: pytest.Pytester) -> None:
    test = """
        from enclu.host.build import Layout

        def test_it(enclave):
            one = enclave("one.c", "two.c", layout=Layout(threads=2), flags=["-DFOURTY=40"])
            assert one.ecall(0, 1) == 42 and len(one.tcs) == 2
            again = enclave("one.c", "two.c", layout=Layout(threads=2), flags=["-DFOURTY=40"])
            assert again.image.path == one.image.path

        def test_for_debugging(enclave):
            assert enclave("one.c", "two.c", flags=["-DFOURTY=41"], debug=True).debugger.read
    """
    (suite.path / "one.c").write_text(
        '#include "trusted.h"\nuint64_t two(uint64_t);\n'
        "uint64_t enclave_main(struct thread *thread, uint64_t function, void *argument)\n"
        "{ (void)thread; return function + two((uint64_t)argument); }\n"
    )
    (suite.path / "two.c").write_text(
        "#include <stdint.h>\nuint64_t two(uint64_t n);\nuint64_t two(uint64_t n) { return FOURTY + 2 * n; }\n"
    )
    run(suite, test).assert_outcomes(passed=2)


def test_what_the_compiler_says_is_told(suite: pytest.Pytester) -> None:
    (suite.path / "wrong.c").write_text("int enclave_main(void) { return nothing; }\n")
    test = """
        def test_it(enclave):
            enclave("wrong.c")
    """
    result = run(suite, test)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E *wrong.c:1:*error: *nothing*undeclared*"])


def test_a_failed_build_does_not_break_the_next_one(suite: pytest.Pytester) -> None:
    (suite.path / "wrong.c").write_text("int enclave_main(void) { return nothing; }\n")
    (suite.path / "right.c").write_text(ANSWER.format(answer=42))
    test = """
        import enclu, pytest

        def test_fails(enclave):
            enclave("wrong.c")

        def test_fails_again(enclave):
            with pytest.raises(enclu.HostError, match="wrong.c:1"):
                enclave("wrong.c")

        def test_works(enclave):
            assert enclave("right.c").ecall(0, 0) == 42
    """
    run(suite, test).assert_outcomes(failed=1, passed=2)


def test_an_interrupted_build_does_not_break_the_next_one(suite: pytest.Pytester) -> None:
    (suite.path / "right.c").write_text(ANSWER.format(answer=42))
    test = """
        import subprocess
        import pytest

        def test_it(enclave, monkeypatch):
            def interrupted(*args, **kwargs):
                raise KeyboardInterrupt
            with monkeypatch.context() as patch:
                patch.setattr(subprocess, "run", interrupted)
                with pytest.raises(KeyboardInterrupt):
                    enclave("right.c")
            assert enclave("right.c").ecall(0, 0) == 42
    """
    run(suite, test).assert_outcomes(passed=1)


def test_a_source_that_has_changed_is_built_again(suite: pytest.Pytester) -> None:
    test = f"""
        import pathlib
        SOURCE = {ANSWER!r}

        def test_it(enclave, tmp_path):
            for answer in 41, 42:
                (tmp_path / "it.c").write_text(SOURCE.format(answer=answer))
                assert enclave(tmp_path / "it.c").ecall(0, 0) == answer
    """
    run(suite, test).assert_outcomes(passed=1)


FRAMES = {
    "a crash": """
        def test_it(enclave):
            enclave("enclave.elf").ecall(2, 0)
    """,
    "a build": """
        def test_it(enclave):
            enclave("wrong.c")
    """,
    "a missing file": """
        def test_it(enclave):
            enclave("missing.elf")
    """,
    "a fixture": """
        import pytest

        @pytest.fixture
        def loaded(enclave):
            return enclave("missing.elf")

        def test_it(loaded):
            pass
    """,
    "a process": """
        def test_it(sgx_machine):
            sgx_machine.process("telepathy")
    """,
}


@pytest.mark.parametrize("what", FRAMES)
def test_tracebacks_end_where_the_test_asks_for_something(suite: pytest.Pytester, what: str) -> None:
    (suite.path / "wrong.c").write_text("int enclave_main(void) { return nothing; }\n")
    result = run(suite, FRAMES[what])
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.no_fnmatch_line("*enclu/host/*.py:*")
    result.stdout.fnmatch_lines(["test_tracebacks_end*.py:*: *"])
    run(suite, FRAMES[what], "--full-trace").stdout.fnmatch_lines(["*enclu/host/*.py:*"])


def test_what_is_not_raised_on_purpose_keeps_its_traceback(suite: pytest.Pytester) -> None:
    test = """
        def test_it(enclave):
            enclave("enclave.elf", nonsense=1)
    """
    result = run(suite, test)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*enclu/host/*.py:*"])


INTERRUPTED = {
    "an ECALL": """
        import os, signal, threading, time
        import pytest

        def test_it(enclave):
            os.setpgrp()
            loaded = enclave("enclave.elf")

            def interrupt():
                while not loaded.entries:
                    time.sleep(0.01)
                os.killpg(0, signal.SIGINT)

            threading.Thread(target=interrupt).start()
            loaded.ecall(3)

        def test_next():
            pass
    """,
    "between ECALLs": """
        import os, signal

        def test_it(enclave):
            os.setpgrp()
            enclave("enclave.elf").ecall(0, 41)
            os.killpg(0, signal.SIGINT)

        def test_next():
            pass
    """,
    "with what is left behind": """
        def test_it(sgx_process):
            sgx_process.load("enclave.elf")
            raise KeyboardInterrupt

        def test_next():
            pass
    """,
}


@pytest.mark.parametrize("where", INTERRUPTED)
def test_an_interrupted_test_ends_as_interrupted(suite: pytest.Pytester, where: str) -> None:
    """Ctrl-C at a terminal: SIGINT for the whole process group."""
    result = run(suite, INTERRUPTED[where])
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["*! KeyboardInterrupt*"])
    if where == "an ECALL":
        result.stdout.fnmatch_lines(["*enclave.elf: the ECALL is given up*"])
    for noise in ("*leaves behind*", "*INTERNALERROR*", "*Error: *", "*test_next*"):
        result.stdout.no_fnmatch_line(noise)
    result.stderr.no_fnmatch_line("*")


def test_an_image_that_is_not_signed_is_signed_for_tests(suite: pytest.Pytester) -> None:
    (suite.path / "enclave.elf.sig").unlink()
    test = """
        def test_it(enclave):
            loaded = enclave("enclave.elf", debug=True)
            assert loaded.debug and loaded.ecall(0, 41) == 42
    """
    run(suite, test).assert_outcomes(passed=1)


def test_the_marker_chooses_design_and_epc(suite: pytest.Pytester) -> None:
    test = """
        import pytest
        pytestmark = pytest.mark.sgx(epc="2M")

        @pytest.mark.sgx(delivery="signal")
        def test_it(enclave, sgx_process, sgx_machine):
            assert sgx_process.delivery == "signal" and sgx_machine.epc == 2 << 20
            assert sgx_process.cpuid(0x12, 2)[2] == 2 << 20 | 1
            assert enclave("enclave.elf").ecall(0, 41) == 42
    """
    run(suite, test).assert_outcomes(passed=1)


@pytest.mark.parametrize("designs", [list(DESIGNS), "all"])
def test_a_test_with_several_designs_runs_under_each(suite: pytest.Pytester, designs: str | list[str]) -> None:
    test = f"""
        import pytest

        @pytest.mark.sgx(delivery={designs!r})
        def test_it(enclave):
            loaded = enclave("enclave.elf")
            assert loaded.ecall(0, 41) == 42
            print("under", loaded.process.delivery)
    """
    result = run(suite, test)
    result.assert_outcomes(passed=len(DESIGNS))
    result.stdout.fnmatch_lines_random([f"under {design}" for design in DESIGNS])
    result.stdout.fnmatch_lines_random([f"PASSED *test_it?{design}?" for design in DESIGNS])


def test_defaults_come_from_the_command_line_and_the_configuration_file(suite: pytest.Pytester) -> None:
    test = """
        def test_it(sgx_delivery, sgx_machine):
            print(f"{sgx_delivery} with {sgx_machine.epc}")
    """
    suite.makeini("[pytest]\nsgx_delivery = mm-handler\nsgx_epc = 4M\n")
    run(suite, test).stdout.fnmatch_lines([f"mm-handler with {4 << 20}"])
    run(suite, test, "--sgx-delivery", "vdso-jmp").stdout.fnmatch_lines([f"vdso-jmp with {4 << 20}"])


@pytest.mark.parametrize(
    ("marker", "message"),
    [
        ("delivery='telepathy'", "no delivery design is called 'telepathy': signal, *"),
        ("delivery=[]", "delivery: an empty list"),
        ("epc='much'", "epc: 'much' is not a size*"),
        ("design='vdso'", "*pytest.mark.sgx(delivery='vdso', epc='2G')*"),
    ],
)
def test_a_wrong_marker_is_an_error_before_any_test_runs(suite: pytest.Pytester, marker: str, message: str) -> None:
    test = f"""
        import pytest

        @pytest.mark.sgx({marker})
        def test_it(enclave):
            pass
    """
    result = run(suite, test)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"*test_it*{message}"])


def test_a_conftest_has_a_say_in_how_processes_are_started(suite: pytest.Pytester) -> None:
    suite.makeconftest("def pytest_sgx_process_options(item): return {'stepping': True}")
    test = """
        def test_it(sgx_process):
            assert sgx_process.stepping
    """
    run(suite, test).assert_outcomes(passed=1)


def test_each_test_has_a_machine_of_its_own(suite: pytest.Pytester) -> None:
    test = """
        import pytest
        seen = []

        @pytest.mark.parametrize("n", [1, 2])
        def test_it(sgx_machine, n):
            assert sgx_machine.secret not in seen
            seen.append(sgx_machine.secret)
    """
    run(suite, test).assert_outcomes(passed=2)


LEAKS = {
    "an enclave": (
        'def test_it(sgx_process): sgx_process.load("enclave.elf")',
        "enclave enclave.elf at 0x* was not unloaded",
    ),
    "a thread in an enclave": (
        """
        import threading, time
        import enclu, pytest

        def test_it(enclave):
            loaded = enclave("enclave.elf")

            def spin():
                with pytest.raises(enclu.ProcessDied):
                    loaded.ecall(3)

            threading.Thread(target=spin, name="the spinner", daemon=True).start()
            while not loaded.entries:
                time.sleep(0.01)
        """,
        "thread the spinner is still in enclave */enclave.elf at 0x*, TCS 0x0",
    ),
    "an entry": (
        """
        def test_it(enclave, sgx_process):
            sgx_process.thread().enter(enclave("enclave.elf").tcs[1] + 8)
        """,
        "thread MainThread has not closed its entry of enclave *, TCS 0x*8, left at #GP of ENCLU*",
    ),
    "a process": (
        """
        import enclu
        kept = []

        def test_it(enclave):
            machine = enclu.Machine()
            kept.append(machine)
            machine.process()
        """,
        "process * of another machine was not closed",
    ),
}


@pytest.mark.parametrize("what", LEAKS)
def test_what_a_test_leaves_behind_is_an_error_with_a_name(suite: pytest.Pytester, what: str) -> None:
    test, message = LEAKS[what]
    result = run(suite, test)
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*ERROR at teardown of test_it*", "*::test_it leaves behind:", message])


def test_a_failure_leaves_nothing_behind(suite: pytest.Pytester) -> None:
    test = """
        def test_fails(enclave):
            enclave("enclave.elf").ecall(2, 0)

        def test_passes(enclave):
            assert enclave("enclave.elf").ecall(0, 41) == 42
    """
    result = run(suite, test)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["E *EnclaveException: #PF of the enclave*"])


def test_suites_without_enclaves_pay_nothing(suite: pytest.Pytester) -> None:
    test = """
        import sys

        def test_it():
            light = {"enclu.host.pytest_plugin", "enclu.sweep.pytest_plugin", "enclu.base.lazy"}
            assert not [name for name in sys.modules if name.startswith("enclu.") and name.count(".") > 1
                        and name not in light]
    """
    run(suite, test).assert_outcomes(passed=1)
