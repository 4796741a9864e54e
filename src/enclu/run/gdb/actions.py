"""How threads are held, and how a debugger has them go on."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Held:
    """A thread that does not run."""

    halted: bool = False
    """By `run.halt`; else where it was about to be resumed."""
    signo: int = 0
    info: bytes = b""
    """The signal that it was to be resumed with, and its siginfo."""
    fixed_up: bool = False
    """The design lets it go on elsewhere after an exception of its enclave."""


@dataclass
class Step:
    """A thread is to execute one instruction, or all within [low, high)."""

    rip: int
    inside: bool
    low: int = 0
    high: int = 0


@dataclass(frozen=True)
class Action:
    """How a thread is to go on: with a signal, stepping, within a range."""

    signo: int = 0
    step: bool = False
    low: int = 0
    high: int = 0


@dataclass
class Wanted:
    """What the debugger has said that it can be told of."""

    fork: bool = False
    vfork: bool = False
    exec: bool = False
    no_resumed: bool = False
    passed: set[int] = field(default_factory=set)
    """Signals that are delivered without a word."""
