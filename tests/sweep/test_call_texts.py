"""Calls as people write them."""

from __future__ import annotations

import pytest

import enclu
from enclu.sweep.call import CallError, EcallText


class Enclave:
    """Tells what it is asked."""

    def __init__(self, process: enclu.Process) -> None:
        self.process = process
        self.asked: list[object] = []

    def ecall(self, *args: object) -> int:
        self.asked += args
        self.memory = [self.process.memory.read(a, 2) for a in args[1:] if isinstance(a, int) and a > 1 << 32]
        return 7


@pytest.fixture
def fake(process: enclu.Process) -> Enclave:
    return Enclave(process)


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("sum([1, 2, 3], 3)", ["sum", [1, 2, 3], 3]),
        ("7", [7]),
        (" poll ", ["poll"]),
        ("poll()", ["poll"]),
        ("0(b'\\0' * 4 + b'a')", [0, b"\0\0\0\0a"]),
        ("f(-1, 2 * 3, 'x' + 'y', 1.5, None)", ["f", -1, 6, "xy", 1.5, None]),
        ("f(bytearray(3), bytearray(b'a'))", ["f", bytearray(3), bytearray(b"a")]),
    ],
)
def test_what_is_asked(fake: Enclave, text: str, asked: list[object]) -> None:
    assert EcallText(text).make(fake) == 7  # type: ignore[arg-type]
    assert fake.asked == asked


def test_memory_is_untrusted_and_has_these_bytes_during_the_call(fake: Enclave) -> None:
    held = fake.process.arena.held
    EcallText("f(memory(b'ab'), memory(2))").make(fake)  # type: ignore[arg-type]
    assert fake.memory == [b"ab", b"\0\0"]
    assert fake.process.arena.held == held


def test_each_call_has_arguments_of_its_own(fake: Enclave) -> None:
    call = EcallText("f([1], bytearray(1))")
    for _ in range(2):
        call.make(fake)  # type: ignore[arg-type]
    assert fake.asked[1] is not fake.asked[4] and fake.asked[2] is not fake.asked[5]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sum([1, 2", "is no call: '\\[' was never closed"),
        ("", "is no call"),
        ("a b", "is no call"),
        ("f(n=1)", "arguments have no names"),
        ("f.g(1)", "an ECALL has a name or a number"),
        ("1.5(2)", "an ECALL has a name or a number"),
        ("f(x)", "x is no argument: write numbers, bytes, lists, memory"),
        ("f(open('/etc/passwd'))", "is no argument"),
        ("f(memory('text'))", "memory\\(\\) has bytes, or how many zeros"),
        ("f(-b'a')", "b'a' is no number"),
        ("f(b'a' * b'b')", "b'b' is no number"),
        ("f(1 + b'a')", "unsupported operand"),
        ("f(bytearray('x'))", r"bytearray\('x'\): string argument without an encoding"),
        ("f(None * 3)", r"None \* 3: unsupported operand"),
        ("f(bytearray([1, 300]))", r"bytearray\(\[1, 300\]\): byte must be in range"),
        ("f(bytearray(-1))", "negative count"),
        ("f(memory(-1))", "memory\\(\\) has bytes, or how many zeros"),
        ("f(b'a' * (1 << 70))", "is no argument"),
        ("f(b'a' * 1180591620717411303424)", "cannot fit"),
        ("f(b'a' * 1152921504606846976)", "an argument is too large"),
        (f"f({'+'.join('1' * 20_000)})", "is no call|too large"),
        ("f(" * 300, "is no call"),
    ],
)
def test_what_is_no_call_is_refused_before_anything_is_loaded(text: str, message: str) -> None:
    with pytest.raises(CallError, match=message):
        EcallText(text)


def test_arguments_that_the_enclave_does_not_take_are_the_users_mistake(fake: Enclave) -> None:
    def ecall(*args: object) -> int:
        raise TypeError("f() takes 2 arguments, 1 given")

    fake.ecall = ecall  # type: ignore[method-assign]
    with pytest.raises(CallError, match=r"f\(1\): f\(\) takes 2 arguments, 1 given"):
        EcallText("f(1)").make(fake)  # type: ignore[arg-type]
