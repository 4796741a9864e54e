"""The proof enclave: that it is sound, and that each weakness is one."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import enclu
from enclu.base.abi import MAP_ANONYMOUS, MAP_FIXED_NOREPLACE, MAP_PRIVATE, PROT_NONE, PROT_READ, PROT_WRITE
from enclu.host.conventions.sdk.abi import EnterCommand, SystemFeatures
from enclu.host.edl import Interface
from enclu.host.events import Exit, Interrupted
from enclu.host.images.regions import Region
from enclu.sgx.epc import PAGE_SIZE
from enclu.sgx.structs import EncluLeaf
from tests.sweep.build import WRITABLE_CODE
from tests.sweep.conftest import OF_THE_IMAGE, WEAKNESSES, Load, ProofEnclave
from tests.sweep.raw import MXCSR, X87_CW, Left, Raw, symbols

SECRET = 0xDEC0DE5EC2E75EC2
NOT_CANONICAL = 1 << 63
DF, NT, AC = 1 << 10, 1 << 14, 1 << 18
ARITHMETIC = 0x8D5
"""CF, PF, AF, ZF, SF and OF."""
TOWARDS_ZERO = 3
EXCEPT, ORET = EnterCommand.ECMD_EXCEPT, EnterCommand.ECMD_ORET
SUM, UNEXPECTED, SPIN, ASK, RELAY, NOTIFIED = 0, 10, 11, 12, 14, 16
"""Numbers of ECALLs."""
Status = enclu.SgxStatus
OUT = Status.SGX_ERROR_INVALID_PARAMETER


@pytest.fixture
def raw(process: enclu.Process, tmp_path: Path) -> Raw:
    return Raw(process, tmp_path)


def place(enclave: enclu.Enclave, symbol: str) -> int:
    return enclave.base + symbols(enclave.image.path)[symbol]


def refused(status: enclu.SgxStatus) -> Any:
    return pytest.raises(enclu.SdkError, match=status.name)


def refused_unless(weaknesses: tuple[str, ...], status: enclu.SgxStatus) -> Any:
    return contextlib.nullcontext() if weaknesses else refused(status)


def either(weakness: str) -> pytest.MarkDecorator:
    """For the sound enclave and the weak one."""
    return pytest.mark.parametrize("weaknesses", [(), (weakness,)], ids=["sound", weakness])


# What all of them do.


@pytest.mark.parametrize(
    "weaknesses", [(), *((name,) for name in (*WEAKNESSES, *OF_THE_IMAGE))], ids=lambda w: "".join(w)
)
def test_each_answers_rightly(load_proof: Load, weaknesses: tuple[str, ...]) -> None:
    def receive(to: Any, n: int) -> int:
        to[:4] = b"\1\2\3\4"
        return 4

    enclave: enclu.Enclave = load_proof(
        *weaknesses, answer=lambda key: enclave.ecall("inner", key), receive=receive, locate=lambda key: key
    )
    to = bytearray(5)
    enclave.ecall("copy", b"hello", to, 5)
    assert to == b"hello"
    assert enclave.ecall("sum", [1, 20, 300], 3) == 321
    assert enclave.ecall("ratio", 1, 8) == enclave.ecall("ratio_x87", 1, 8) == 0.125
    assert enclave.ecall("ask", 7) == (1 << 64) - 1
    assert enclave.ecall("relay", 5) == 10
    assert [enclave.ecall("divide", 7, b) for b in (2, 0)] == [3, -1]
    assert enclave.ecall("undefined", 41) == 42
    with enclave.process.memory.temporary(struct.pack("<IIQ", 4, 5, 6)) as place:
        assert enclave.ecall("sum_outside", place, 2) == 9
        assert enclave.ecall("look_up", place + 8) == 6


@pytest.mark.parametrize(("seed", "rounds", "number"), [(7, 0, 7), (1, 1, 0x40822041), (1, 2, 0x100041060C011441)])
def test_it_computes(load_proof: Load, seed: int, rounds: int, number: int) -> None:
    assert load_proof().ecall("compute", seed, rounds) == number


def test_what_it_has_from_the_processor_is_another_each_time(load_proof: Load) -> None:
    enclave = load_proof()
    assert enclave.ecall("random") != enclave.ecall("random")
    assert enclave.ecall("ticks") < enclave.ecall("ticks")


def test_a_debug_enclave_can_be_looked_into(load_proof: Load) -> None:
    enclave = load_proof(debug=True)
    assert enclave.debugger.read(place(enclave, "enclave_secret"), 8) == SECRET.to_bytes(8, "little")


def test_another_cannot_be_one(process: enclu.Process, proof_enclave: ProofEnclave) -> None:
    with pytest.raises(enclu.HostError):
        process.load(proof_enclave(), debug=True)


def test_it_is_built_once_for_each_combination(proof_enclave: ProofEnclave) -> None:
    assert proof_enclave("KEEPS_DF", "KEEPS_AC") == proof_enclave("KEEPS_AC", "KEEPS_DF") != proof_enclave("KEEPS_AC")


def test_a_weakness_that_there_is_not_is_told(proof_enclave: ProofEnclave) -> None:
    with pytest.raises(ValueError, match="no weaknesses: KEEPS_CALM"):
        proof_enclave("KEEPS_CALM")


@either(WRITABLE_CODE)
def test_pages_are_writable_or_code(proof_enclave: ProofEnclave, weaknesses: tuple[str, ...]) -> None:
    def both(region: Region) -> bool:
        return region.flags & 6 == 6

    assert any(map(both, enclu.open_image(proof_enclave(*weaknesses)).regions())) == bool(weaknesses)


# Pointers, and what changes while it is looked at.


def summed(enclave: enclu.Enclave, pointer: int, n: int) -> int:
    """The ECALL's result with a pointer that generated code would not have passed."""
    structure = bytearray(struct.pack("<QQQ", 0, pointer, n))
    enclave.ecall(SUM, structure)
    return int.from_bytes(structure[:8], "little")


@either("POINTER_INSIDE")
def test_a_pointer_into_the_enclave(load_proof: Load, weaknesses: tuple[str, ...]) -> None:
    enclave = load_proof(*weaknesses)
    with refused_unless(weaknesses, OUT):
        assert summed(enclave, place(enclave, "enclave_secret"), 2) == (SECRET >> 32) + (SECRET & 0xFFFF_FFFF)


@either("POINTER_STRADDLES")
def test_a_pointer_to_what_ends_in_the_enclave(load_proof: Load, weaknesses: tuple[str, ...]) -> None:
    enclave = load_proof(*weaknesses, on_exception=lambda exception: enclu.Action.RAISE)
    flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE
    enclave.process.syscall("mmap", enclave.base - PAGE_SIZE, PAGE_SIZE, PROT_READ | PROT_WRITE, flags, -1, 0)
    with pytest.raises(enclu.HostError) as raised:
        summed(enclave, enclave.base - 8, 4)
    if weaknesses:  # nobody can read a TCS, but it has tried
        assert isinstance(raised.value, enclu.EnclaveException) and raised.value.address == enclave.base
    else:
        assert isinstance(raised.value, enclu.SdkError) and raised.value.status == OUT


@pytest.mark.parametrize("n", [1 << 62, (1 << 62) + 1])
def test_a_length_that_overflows(load_proof: Load, n: int) -> None:
    enclave = load_proof()
    with enclave.process.memory.temporary(bytes(8)) as address, refused(OUT):
        enclave.ecall("sum_outside", address, n)


@either("POINTER_NULL")
def test_a_null_pointer(load_proof: Load, weaknesses: tuple[str, ...]) -> None:
    enclave = load_proof(*weaknesses)
    assert summed(enclave, 0, 0) == 0
    with refused(OUT) if not weaknesses else pytest.raises(enclu.EnclaveException):
        summed(enclave, 0, 1)


@pytest.mark.parametrize("inside", [False, True], ids=["first-page", "enclave"])
def test_a_pointer_that_is_only_to_be_read(load_proof: Load, inside: bool) -> None:
    enclave = load_proof()
    with refused(OUT):
        enclave.ecall("unexpected", place(enclave, "enclave_secret") if inside else 8)


def test_a_structure_in_the_enclave_or_nowhere(load_proof: Load, interface: Interface) -> None:
    def call(name: str) -> int:
        for address in (0, place(enclave, "enclave_secret"), enclave.base - 1):
            with refused(OUT):
                enclave.ecall(interface.ecall_numbers[name], address)
        return 0

    enclave = load_proof(answer=lambda key: call("inner"))
    for name in interface.ecall_numbers.keys() - {"inner"}:
        call(name)
    enclave.ecall("ask", 0)


@either("DOUBLE_FETCH")
def test_a_length_that_changes_after_the_check(
    process: enclu.Process, load_proof: Load, weaknesses: tuple[str, ...]
) -> None:
    page = process.syscall("mmap", 0, PAGE_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)

    def change(exception: enclu.EnclaveException) -> enclu.Action:
        assert exception.address & -PAGE_SIZE == page
        process.syscall("mprotect", page, PAGE_SIZE, PROT_READ | PROT_WRITE)
        process.memory.write(page, struct.pack("<8I", *range(1, 9)))
        process.memory.write(structure + 16, (8).to_bytes(8, "little"))
        return enclu.Action.RESUME

    enclave = load_proof(*weaknesses, on_exception=change)
    with process.memory.temporary(struct.pack("<QQQ", 0, page, 2)) as structure:
        enclave.ecall(SUM, structure)
        assert int.from_bytes(process.memory.read(structure, 8), "little") == (36 if weaknesses else 3)


# What may be called when.


@either("BEFORE_INIT")
def test_an_ecall_before_the_initialization(
    process: enclu.Process, proof_enclave: ProofEnclave, interface: Interface, weaknesses: tuple[str, ...]
) -> None:
    uninitialized = type("Uninitialized", (interface.convention(),), {"start": lambda self, timeout: None})
    enclave = process.load(proof_enclave(*weaknesses), convention=uninitialized)
    with refused_unless(weaknesses, Status.SGX_ERROR_UNEXPECTED):
        assert enclave.ecall("divide", 6, 3) == 2


def test_a_second_initialization(load_proof: Load) -> None:
    enclave = load_proof()
    with enclave.process.memory.own(bytes(SystemFeatures())) as features, refused(Status.SGX_ERROR_UNEXPECTED):
        enclave.convention.command(EnterCommand.ECMD_INIT_ENCLAVE, features)  # type: ignore[attr-defined]


def test_ecalls_that_are_not_allowed(load_proof: Load) -> None:
    def answer(key: int) -> int:
        with refused(Status.SGX_ERROR_ECALL_NOT_ALLOWED):
            enclave.ecall("compute", 1, 1)
        return 1

    enclave = load_proof(answer=answer)
    with refused(Status.SGX_ERROR_ECALL_NOT_ALLOWED):
        enclave.ecall("inner", 1)
    assert enclave.ecall("ask", 1) == 2


@pytest.mark.parametrize(("command", "status"), [
    (ORET, Status.SGX_ERROR_UNEXPECTED), (EXCEPT, Status.SGX_ERROR_UNEXPECTED), (18, Status.SGX_ERROR_INVALID_FUNCTION),
])  # fmt: skip
def test_entries_for_nothing(load_proof: Load, command: int, status: enclu.SgxStatus) -> None:
    enclave = load_proof()
    assert entered(enclave, enclave.tcs[0], command) == status


def entered(enclave: enclu.Enclave, tcs: int, command: int) -> int:
    """The status that an entry ends with."""
    with enclave.process.thread().enter(tcs, rdi=command) as entry:
        assert isinstance(entry.event, Exit)
        return entry.event.registers.rsi


# What the host answers.


@either("OCALL_RESULT_UNCHECKED")
def test_an_answer_that_points_into_the_enclave(load_proof: Load, weaknesses: tuple[str, ...]) -> None:
    enclave: enclu.Enclave = load_proof(*weaknesses, locate=lambda key: place(enclave, "enclave_secret"))
    with refused_unless(weaknesses, Status.SGX_ERROR_UNEXPECTED):
        assert enclave.ecall("look_up", 1) == SECRET


@either("OCALL_RESULT_UNCHECKED")
def test_an_answer_that_is_longer_than_it_may_be(load_proof: Load, weaknesses: tuple[str, ...]) -> None:
    with refused_unless(weaknesses, Status.SGX_ERROR_UNEXPECTED):
        load_proof(*weaknesses, receive=lambda to, n: n + 1).ecall("relay", 4)


# Exceptions.


@either("ACCEPTS_ANY_VECTOR")
def test_an_exception_that_nobody_expects(load_proof: Load, weaknesses: tuple[str, ...]) -> None:
    enclave = load_proof(*weaknesses)
    if weaknesses:
        assert enclave.ecall("unexpected", NOT_CANONICAL) == -1
    else:
        with pytest.raises(enclu.EnclaveException) as raised:
            enclave.ecall("unexpected", NOT_CANONICAL)
        assert raised.value.__notes__ == ["the enclave's exception handling returned SGX_ERROR_ENCLAVE_CRASHED"]


@either("ACCEPTS_INVALID_EXITINFO")
def test_an_interrupt_that_is_said_to_be_an_exception(load_proof: Load, weaknesses: tuple[str, ...]) -> None:
    enclave = load_proof(*weaknesses)
    memory, thread, tcs = enclave.process.memory, enclave.process.thread(), enclave.tcs[0]
    with (
        memory.temporary(bytes(4)) as flag,
        memory.temporary(struct.pack("<QQ", 0, flag)) as structure,
        thread.enter(tcs, rdi=SPIN, rsi=structure, timeout=0.05) as entry,
    ):
        assert isinstance(entry.event, Interrupted)
        assert entered(enclave, tcs, EXCEPT) == (0 if weaknesses else Status.SGX_ERROR_ENCLAVE_CRASHED)


def withdrawing(process: enclu.Process, handle: Callable[[enclu.EnclaveException], enclu.Action]) -> Any:
    """An `on_exception` that gives a page back."""

    def give_back(exception: enclu.EnclaveException) -> enclu.Action:
        process.syscall("mprotect", exception.address & -PAGE_SIZE, PAGE_SIZE, PROT_READ | PROT_WRITE)
        return handle(exception)

    return give_back


def withdraw(enclave: enclu.Enclave, symbol: str) -> None:
    enclave.process.syscall("mprotect", place(enclave, symbol) & -PAGE_SIZE, PAGE_SIZE, PROT_NONE)


def test_a_page_that_was_taken_away_for_a_while(process: enclu.Process, load_proof: Load) -> None:
    seen: list[int] = []

    def handle(exception: enclu.EnclaveException) -> enclu.Action:
        seen.append(exception.address)
        return enclu.Action.HANDLE

    enclave = load_proof(on_exception=withdrawing(process, handle))
    withdraw(enclave, "enclave_secret")
    assert enclave.ecall("compute", 1, 1) == 0x40822041
    assert seen == [place(enclave, "enclave_secret") & -PAGE_SIZE]


@either("REENTERS_HANDLER")
def test_a_handler_that_is_entered_again(process: enclu.Process, load_proof: Load, weaknesses: tuple[str, ...]) -> None:
    statuses: list[int] = []

    def twice(exception: enclu.EnclaveException) -> enclu.Action:
        statuses.extend(entered(enclave, exception.tcs, EXCEPT) for _ in range(2))
        return enclu.Action.RESUME

    enclave = load_proof(*weaknesses, on_exception=withdrawing(process, twice))
    withdraw(enclave, "enclave_secret")
    assert enclave.ecall("compute", 1, 1) == 0x40822041
    assert statuses == [0, 0 if weaknesses else Status.SGX_ERROR_ENCLAVE_CRASHED]


@either("OLD_ORDER")
def test_an_exception_while_rsp_is_the_hosts(load_proof: Load, raw: Raw, weaknesses: tuple[str, ...]) -> None:
    """SmashEx, CVE-2021-0186: the host has the stack of an ECALL overwritten that waits for an OCALL."""
    enclave = load_proof(*weaknesses, debug=True)
    process, tcs = enclave.process, enclave.tcs[0]
    thread, target = place(enclave, "enclave_tls"), 0x4141_4141_4000
    with process.memory.temporary(bytes(16)) as structure:
        assert raw.enter(tcs, rdi=RELAY, rsi=structure).registers.rdi == 1  # in the OCALL
    (last_sp,) = struct.unpack("<Q", enclave.debugger.read(thread + 8, 8))
    withdraw(enclave, "enclave_tls")
    # RDI of what is interrupted will be where sgx_ocall() returns to.
    assert raw.enter(tcs, rdi=target, rsp=last_sp + 256).signo
    process.syscall("mprotect", thread, PAGE_SIZE, PROT_READ | PROT_WRITE)
    status = raw.enter(tcs, rdi=EXCEPT).registers.rsi
    assert raw.enter(tcs, leaf=EncluLeaf.ERESUME).signo == 0
    after = raw.enter(tcs, rdi=ORET)
    if weaknesses:
        assert (status, enclave.debugger.ssa(tcs).gprsgx.rip) == (0, target)
    else:
        assert (status, after.signo, after.registers.rsi) == (Status.SGX_ERROR_STACK_OVERRUN, 0, 0)


# What the host leaves in registers, and what the enclave does.


@pytest.mark.parametrize(("weakness", "flag"), [("KEEPS_DF", DF), ("KEEPS_AC", AC), ("KEEPS_NT", NT)])
@pytest.mark.parametrize("weak", [False, True], ids=["sound", "weak"])
def test_the_hosts_flags(load_proof: Load, raw: Raw, weakness: str, flag: int, weak: bool) -> None:
    enclave = load_proof(*[weakness] * weak, debug=True)
    with enclave.process.memory.temporary(struct.pack("<QQ", 0, NOT_CANONICAL)) as structure:
        assert raw.enter(enclave.tcs[0], rdi=UNEXPECTED, rsi=structure, rflags=2 | flag).signo
    assert enclave.debugger.ssa(enclave.tcs[0]).gprsgx.rflags & (DF | AC | NT) == flag * weak


@pytest.mark.parametrize(
    ("weakness", "function", "given"),
    [("KEEPS_MXCSR", "ratio", {"mxcsr": MXCSR | TOWARDS_ZERO << 13}),
     ("KEEPS_X87_CW", "ratio_x87", {"x87_cw": X87_CW | TOWARDS_ZERO << 10}),
     ("KEEPS_X87_TAGS", "ratio_x87", {"x87_values": 8})],
)  # fmt: skip
@pytest.mark.parametrize("weak", [False, True], ids=["sound", "weak"])
def test_the_hosts_control_words(
    load_proof: Load, raw: Raw, interface: Interface, weakness: str, function: str, given: dict[str, Any], weak: bool
) -> None:
    enclave = load_proof(*[weakness] * weak)
    memory = enclave.process.memory
    with memory.temporary(struct.pack("<dii", 0, 1, 10)) as structure:
        left = raw.enter(enclave.tcs[0], rdi=interface.ecall_numbers[function], rsi=structure, **given)
        assert (left.signo, left.registers.rsi) == (0, 0)
        (result,) = struct.unpack("<d", memory.read(structure, 8))
    assert (result != 0.1) == weak


LEFT: dict[str, Callable[[Left], bool]] = {
    "LEAVES_GPRS": lambda left: SECRET in vars(left.registers).values(),
    "LEAVES_FLAGS": lambda left: bool(left.rflags & ARITHMETIC),
    "LEAVES_VECTORS": lambda left: any(left.vectors),
    "LEAVES_X87": lambda left: any(left.x87_values),
}
"""Whether there is anything of the enclave."""


@pytest.mark.parametrize("weakness", ["", *LEFT])
def test_what_is_left_in_registers(load_proof: Load, raw: Raw, weakness: str) -> None:
    enclave = load_proof(*filter(None, [weakness]))
    with enclave.process.memory.temporary(struct.pack("<QQ", 0, 1)) as structure:
        ocall = raw.enter(enclave.tcs[0], rdi=ASK, rsi=structure)
        end = raw.enter(enclave.tcs[0], rdi=ORET)
    assert (ocall.registers.rdi, end.registers.rdi) == (0, (1 << 64) - 1)
    for left in (ocall, end):
        assert [name for name, leaves in LEFT.items() if leaves(left)] == [weakness] * bool(weakness)


# AEX-Notify.


def test_it_can_be_told_of_aexs(load_proof: Load) -> None:
    enclave = load_proof(aex_notify=True, answer=lambda key: 0)
    assert [enclave.ecall("divide", 7, 0), enclave.ecall("undefined", 1)] == [-1, 2]
    assert enclave.ecall("notified") == 2


def test_it_goes_on_where_it_was_interrupted(load_proof: Load) -> None:
    enclave = load_proof(aex_notify=True)
    memory, tcs = enclave.process.memory, enclave.tcs[0]
    with memory.temporary(bytes(4)) as flag, memory.temporary(struct.pack("<QQ", 0, flag)) as structure:
        with enclave.process.thread().enter(tcs, rdi=SPIN, rsi=structure, timeout=0.02) as entry:
            for _ in range(3):
                assert isinstance(entry.resume(0.02), Interrupted)
            memory.write(flag, b"\5")
            assert isinstance(entry.resume(), Exit)
        assert memory.read(structure, 4) == b"\5\0\0\0"
        with enclave.process.thread().enter(tcs, rdi=NOTIFIED, rsi=structure):
            assert memory.read(structure, 1) == b"\4"


def test_it_is_told_of_nothing_unless_it_is_built_so(load_proof: Load) -> None:
    enclave = load_proof()
    assert (enclave.ecall("divide", 7, 0), enclave.ecall("notified")) == (-1, 0)
