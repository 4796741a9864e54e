"""What EENTERs and EEXITs are for, by their registers, for each convention."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import enclu
from enclu.host.conventions.enclu_abi import Enter, Leave, call_word
from enclu.host.conventions.open_enclave.abi import Code, EcallFunction, OcallFunction, call_argument
from enclu.trace import decoders
from enclu.trace.calls import Calls, Convention
from enclu.trace.decoders import Call, Names
from enclu.trace.decoders.enclu import Enclu
from enclu.trace.names import NamesError, of_edl, of_image
from enclu.trace.spool import Made
from tests.support.enclave_images import SDK_FUNCTIONS, sdk_image
from tests.support.runs import enclu as command
from tests.support.runs import environment

TCS, STACK, POINTER = 0x7000, 0x7FFE_0000, 0x7FFE_0100
IN, OUT, RESUMED = "EENTER", "EEXIT", "ERESUME"


class Thread:
    """One TCS of an enclave, of which leaves are told."""

    def __init__(
        self, convention: str | None = None, names: Names = decoders.NO_NAMES, program: str = "app", eid: int = 1
    ) -> None:
        self.calls = Calls(Convention(convention, names))
        self.calls.made(Made(eid, "00" * 32, program, []))
        self.eid = eid

    def enters(self, rdi: int, rsi: int = POINTER, cssa: int = 0, tcs: int = TCS) -> str | None:
        return shown(self.calls.leaf(IN, self.eid, tcs, cssa, rdi & (1 << 64) - 1, rsi & (1 << 64) - 1, STACK))

    def leaves(self, rdi: int, rsi: int = 0, tcs: int = TCS) -> str | None:
        return shown(self.calls.leaf(OUT, self.eid, tcs, 0, rdi & (1 << 64) - 1, rsi, STACK))

    def interrupted(self) -> None:
        self.calls.event("aex", {"eid": self.eid, "tcs": TCS, "vector": 6, "rip": 0})

    def resumes(self) -> None:
        assert self.calls.leaf(RESUMED, self.eid, TCS, 0, 0, 0, STACK) is None


def shown(call: Call | None) -> str | None:
    return call.text if call is not None else None


# Intel's SDK.


def test_an_enclave_of_the_sdk_is_known_by_its_initialisation() -> None:
    thread = Thread()
    assert thread.enters(-1) == "ECALL -1 ECMD_INIT_ENCLAVE"
    assert thread.leaves(-1) == "return of ECALL"
    assert thread.enters(4) == "ECALL 4"
    assert thread.leaves(7) == "OCALL 7"
    assert thread.enters(5) == "ECALL 5", "nested"
    assert thread.leaves(-1) == "return of ECALL"
    assert thread.enters(-2) == "return of OCALL"
    assert thread.enters(-3, cssa=1) == "ECALL -3 ECMD_EXCEPT"
    assert thread.leaves(-6) == "OCALL -6 EDMM_ALLOC"


def test_commands_of_32_bits_are_the_same() -> None:
    thread = Thread("sdk")
    assert thread.enters(0xFFFF_FFFE) == "return of OCALL"


def test_functions_of_the_sdk_have_the_names_of_an_edl_file(tmp_path: Path) -> None:
    edl = tmp_path / "e.edl"
    edl.write_text("enclave { trusted { public void work(); }; untrusted { void print(); void look(); }; };")
    thread = Thread("sdk", of_edl(edl))
    assert thread.enters(0) == "ECALL 0 work" and thread.leaves(1) == "OCALL 1 look"
    assert thread.enters(9) == "ECALL 9"


def test_a_file_without_names_is_refused(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_bytes(b"nothing of the kind")
    for read in of_edl, of_image:
        with pytest.raises(NamesError, match="wrong"):
            read(wrong)
    with pytest.raises(NamesError, match="missing"):
        of_edl(tmp_path / "missing")
    with pytest.raises(NamesError, match=r"no symbols of functions|is missing|neither|no enclave"):
        of_image(Path("/bin/true"))


# Open Enclave.


def test_open_enclave_tells_functions_of_its_runtime() -> None:
    thread = Thread()
    assert thread.enters(call_argument(Code.ECALL, EcallFunction.INIT_ENCLAVE)) == "ECALL 1 INIT_ENCLAVE"
    assert thread.leaves(call_argument(Code.OCALL, OcallFunction.MALLOC)) == "OCALL 32771 MALLOC"
    assert thread.enters(call_argument(Code.ORET, OcallFunction.MALLOC)) == "return of OCALL"
    assert thread.leaves(call_argument(Code.ERET, EcallFunction.INIT_ENCLAVE, 3)) == "return of ECALL"
    assert thread.enters(call_argument(Code.ECALL, 77)) == "ECALL 77"
    assert thread.enters(0) == "ECALL", "no code of Open Enclave's"


# EDP.


def test_edp_is_known_by_its_runner() -> None:
    thread = Thread(program="ftxsgx-runner")
    assert thread.enters(POINTER, 1) == "ECALL"
    assert thread.leaves(3) == "OCALL 3 write"
    assert thread.enters(0, 0) == "return of OCALL"
    assert thread.leaves(0x8000_0005) == "OCALL 2147483653"
    assert thread.enters(0, 0) == "return of OCALL"
    assert thread.leaves(0) == "return of ECALL"
    assert thread.enters(0, 0) == "ECALL"


# Gramine.


def test_gramine_is_known_by_its_loader_and_first_entry() -> None:
    thread = Thread(program="loader")
    assert thread.enters(0) == "ECALL 0 ECALL_ENCLAVE_START"
    assert thread.leaves(8) == "OCALL 8 OCALL_PREAD"
    assert thread.enters(1) == "return of OCALL", "what the OCALL returns is no number of an ECALL"
    assert thread.leaves(0) == "OCALL 0 OCALL_EXIT"
    assert thread.enters(2) == "ECALL 2 ECALL_THREAD_RESET"
    assert thread.leaves(2) == "return of ECALL"
    assert thread.enters(1) == "ECALL 1 ECALL_THREAD_START"
    assert thread.leaves(900) == "OCALL 900"


def test_exceptions_in_gramine_are_entries_at_another_cssa() -> None:
    thread = Thread("gramine")
    thread.enters(0)
    thread.interrupted()
    assert thread.enters(4, cssa=1) == "ECALL sgx_raise"
    assert thread.leaves(0) == "return of ECALL"
    thread.resumes()
    assert thread.leaves(0) == "OCALL 0 OCALL_EXIT"


# `enclu build`.


def test_python_tells_numbers_to_enclaves_of_ours() -> None:
    thread = Thread()
    assert thread.enters(POINTER, call_word(Enter.ECALL, 5)) == "ECALL 5"
    assert thread.leaves(call_word(Leave.OCALL, 7)) == "OCALL 7"
    assert thread.enters(POINTER + 64, call_word(Enter.ECALL, 5)) == "ECALL 5"
    assert thread.leaves(call_word(Leave.DONE, 5)) == "return of ECALL 5"
    assert thread.enters(POINTER, call_word(Enter.ORET)) == "return of OCALL"
    assert thread.enters(POINTER, call_word(Enter.RESET), cssa=1) == "ECALL RESET"


def test_of_hosts_in_c_the_structure_tells_what_returns() -> None:
    thread = Thread()
    assert thread.enters(POINTER, 99) is None, "nothing is known of the enclave yet"
    assert thread.leaves(call_word(Leave.OCALL, 7)) == "OCALL 7"
    assert thread.enters(POINTER + 64, 99) == "ECALL", "another structure: nested"
    assert thread.leaves(call_word(Leave.DONE, 4)) == "return of ECALL 4"
    assert thread.enters(POINTER, 99) == "return of OCALL"
    assert thread.leaves(call_word(Leave.DONE, 3)) == "return of ECALL 3"
    assert thread.enters(POINTER, 99) == "ECALL"


def test_a_number_too_great_is_not_told() -> None:
    assert Thread("enclu").leaves(call_word(Leave.OCALL, 1 << 40)) is None, "nobody entered"
    thread = Thread("enclu")
    thread.enters(POINTER)
    assert thread.leaves(call_word(Leave.OCALL, 1 << 40)) == "OCALL"


# Any.


@pytest.mark.parametrize(
    ("program", "rdi", "rsi", "exit_rdi"),
    [("app", 0, POINTER, 8), ("loader", 0, STACK - 64, 8), ("loader", 1, POINTER, 8), ("app", POINTER, 1, 3),
     ("app", -2, POINTER, -1)],
)  # fmt: skip
def test_of_others_nothing_is_claimed(program: str, rdi: int, rsi: int, exit_rdi: int) -> None:
    thread = Thread(program=program)
    assert thread.enters(rdi, rsi) is None and thread.leaves(exit_rdi) is None
    assert thread.enters(-1) is None, "what an enclave is does not change"


def test_none_means_that_nothing_is_interpreted() -> None:
    assert Thread("none").enters(-1) is None


def test_enclaves_have_a_convention_each() -> None:
    thread = Thread()
    assert thread.enters(-1) == "ECALL -1 ECMD_INIT_ENCLAVE"
    thread.eid = 2
    assert thread.enters(3) is None


@pytest.mark.parametrize("name", [name for name in decoders.names() if name != decoders.NONE])
def test_each_is_called_as_it_calls_itself(name: str) -> None:
    kind = decoders.named(name)
    assert kind is not None and kind.convention == name


# Those of other packages.

PACKAGE = """
from enclu.trace.decoders import Call, Decoder, Kind

class Mine(Decoder):
    convention = "mine"

    @classmethod
    def recognises(cls, evidence):
        return evidence.program == "leaves"

    def enter(self, tcs, cssa, rdi, rsi):
        return Call(Kind.ECALL, 42, "answer")

    def exit(self, tcs, cssa, rdi, rsi):
        return Call(Kind.ECALL_RETURN)
"""


def installed(tmp_path: Path, target: str) -> dict[str, str]:
    """A package with an entry point; the environment that has it."""
    info = tmp_path / "mine-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[{decoders.GROUP}]\nmine = {target}\n")
    (tmp_path / "mine_decoder.py").write_text(PACKAGE)
    return {"PYTHONPATH": str(tmp_path)}


def test_a_package_adds_one(tmp_path: Path) -> None:
    env = environment(**installed(tmp_path, "mine_decoder:Mine"))
    done = command("trace", "--convention", "mine", "-e", "process", "/bin/true", env=env)
    assert done.returncode == 0 and "true ends with status 0" in done.stderr


@pytest.mark.parametrize(
    ("target", "words"),
    [("mine_decoder:Other", "cannot be loaded"), ("nothing:Mine", "cannot be loaded"), ("os:path", "no subclass of")],
)
def test_one_that_is_none_is_refused(target: str, words: str, tmp_path: Path) -> None:
    env = environment(**installed(tmp_path, target))
    done = command("trace", "--convention", "mine", "/bin/true", env=env)
    assert done.returncode == 2 and words in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_name_that_is_none_is_refused() -> None:
    done = command("trace", "--convention", "nonsense", "/bin/true")
    assert done.returncode == 2 and "sdk, open-enclave, edp, gramine, enclu, none" in done.stderr


# Names that an image's symbols tell.


def test_the_file_that_the_loader_has_mapped_tells_names(tmp_path: Path) -> None:
    path = sdk_image(tmp_path / "enclave.so", functions=SDK_FUNCTIONS)
    other = sdk_image(tmp_path / "other.so", threads=3, functions=SDK_FUNCTIONS.replace("first", "wrong"))
    mrenclave = enclu.open_image(path).mrenclave()
    assert other.exists() and enclu.open_image(other).mrenclave() != mrenclave
    thread = Thread()
    files = ["/bin/true", str(tmp_path / "gone"), str(other), str(path)]
    thread.calls.made(Made(1, mrenclave.hex(), "app", files))
    assert thread.enters(-1) == "ECALL -1 ECMD_INIT_ENCLAVE"
    assert [thread.enters(number) for number in range(3)] == ["ECALL 0 first", "ECALL 1 second", "ECALL 2"]


def test_a_file_with_another_measurement_tells_nothing(tmp_path: Path) -> None:
    path = sdk_image(tmp_path / "enclave.so", functions=SDK_FUNCTIONS)
    thread = Thread()
    thread.calls.made(Made(1, "ab" * 32, "app", [str(path)]))
    thread.enters(-1)
    assert thread.enters(0) == "ECALL 0"


def test_an_image_without_its_loader_tells_names(tmp_path: Path) -> None:
    names = of_image(sdk_image(tmp_path / "enclave.so", functions=SDK_FUNCTIONS))
    assert names.ecalls == {0: "first", 1: "second"}
    with pytest.raises(NamesError, match="no symbols of functions"):
        of_image(sdk_image(tmp_path / "none.so"))


# Leaves that are missing.


def test_after_a_loss_only_registers_alone_are_interpreted() -> None:
    sdk, gramine, enclu = Thread(), Thread(program="loader"), Thread()
    assert sdk.enters(-1) and gramine.enters(0) and enclu.enters(POINTER, call_word(Enter.ECALL, 5))
    for thread in sdk, gramine, enclu:
        thread.calls.event("leaves_lost", {"count": 3})
    assert sdk.enters(4) == "ECALL 4"
    assert gramine.leaves(8) is None and enclu.leaves(call_word(Leave.OCALL, 7)) is None
    gramine.eid = 2
    assert gramine.enters(0) is None


def test_a_decoder_that_fails_ends_only_what_it_tells(capfd: pytest.CaptureFixture[str]) -> None:
    class Fails(decoders.Decoder):
        convention = "fails"

        def enter(self, tcs: int, cssa: int, rdi: int, rsi: int) -> Call:
            raise KeyError(rdi)

    thread = Thread("none")
    thread.calls._automatic, thread.calls._chosen = False, Fails
    assert thread.enters(5) is None and thread.enters(6) is None and thread.leaves(7) is None
    error = capfd.readouterr().err
    assert error.count("\n") == 1 and "its decoder fails: KeyError(5)" in error


def test_names_are_shown_as_characters() -> None:
    thread = Thread("sdk", Names({1: "\x1b[2Jwork\udcff"}))
    thread.enters(-1)
    shown = thread.enters(1)
    assert shown is not None and "\x1b" not in shown and shown.encode()


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    thread = Thread()
    thread.calls.made(Made(1, "ab" * 32, "app", [str(tmp_path / "pipe"), "/dev/zero", str(tmp_path)]))
    assert thread.enters(-1) == "ECALL -1 ECMD_INIT_ENCLAVE"


@pytest.mark.parametrize("convention", ["sdk", "open-enclave", "enclu"])
def test_registers_of_all_kinds_take_no_more_and_no_more_memory(convention: str) -> None:
    thread = Thread(convention)
    for number in range(25_000):
        thread.enters(number << 32 | number, call_word(Enter.ECALL, number))
        thread.leaves(call_word(Leave.DONE, number) ^ number << 32)
    enclave = thread.calls._enclaves[1]
    assert all(len(kept) <= 10_000 for kept in vars(enclave.decoder).values() if isinstance(kept, dict))


def test_codes_of_open_enclave_in_the_wrong_direction_are_not_believed() -> None:
    thread = Thread("open-enclave")
    assert thread.enters(call_argument(Code.OCALL, 1)) == "ECALL"
    assert thread.leaves(call_argument(Code.ORET, 1)) == "return of ECALL"
    assert thread.leaves(call_argument(Code.ECALL, 1)) == "return of ECALL"
    assert thread.leaves(0) == "return of ECALL" and thread.enters(0) == "ECALL"


def test_entries_that_are_given_up_are_forgotten() -> None:
    thread = Thread("enclu")
    for _ in range(1000):
        thread.enters(POINTER)
        thread.interrupted()
    decoder = thread.calls._enclaves[1].decoder
    assert isinstance(decoder, Enclu) and len(decoder._calls[TCS]) == 1
