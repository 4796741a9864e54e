"""What to change: the rules of sgx-perf with its figures, and some of our own.  docs/profile.md tells them to people.

N. Weichbrodt, P.-L. Aublin, R. Kapitza: sgx-perf: A Performance Analysis Tool for Intel SGX Enclaves, Middleware 2018;
figures as its analyser has them (analyzer/src/main.cpp, calls.cpp).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from enclu.trace.profile.durations import BOUNDS
from enclu.trace.profile.measure import CallStats, Key, Near, Profile

FEWEST = 10
"""Of fewer calls nothing is said."""
SHORT = (0.35, 0.50, 0.65)
"""sgx-perf's alpha, beta and gamma: more than such a share of the calls below each of BOUNDS is short."""
WEIGHTS = (1.0, 0.75, 0.5, 0.25)
"""sgx-perf's for calls within each of GAPS after another."""
NEAR_WEIGHTS = (1.0, 0.75)
"""sgx-perf's for OCALLs within each of EDGES."""
FOLLOWS, CLOSE = 0.35, 0.35
"""sgx-perf's lambda and epsilon: a larger share of the calls follows the other one, with a larger sum of weights."""
AT_AN_EDGE = 0.5
"""sgx-perf's: a larger sum of weights is near the begin or end."""
SWITCHLESS = 0.10
"""Share of all transitions from which on a short call is worth threads that wait for it."""
INTERRUPTED = 1.0
"""AEXs a call."""
RELOADED, RELOADS = 0.10, 16
"""Share of the evicted pages that come back, and how many at least: the kernel evicts 16 at a time."""


@dataclass(frozen=True)
class Advice:
    """One thing to change."""

    rule: str
    subject: str
    """The call, or the enclave."""
    text: str
    figures: str
    """Why, and the threshold."""


def advise(profile: Profile) -> list[Advice]:
    """What is most worth it first: by the transitions that are concerned."""
    found: list[tuple[int, Advice]] = []
    for key, stats in profile.calls.items():
        if stats.calls >= FEWEST:
            found += [(stats.transitions, advice) for advice in _of_call(profile, key, stats)]
    found.sort(key=lambda item: -item[0])
    return [*_paging(profile), *(advice for _, advice in found)]


def _of_call(profile: Profile, key: Key, stats: CallStats) -> Iterator[Advice]:
    yield from _short(profile, key, stats)
    yield from _follows(key, stats)
    yield from _edges(key, stats)
    mean = stats.aexs / stats.calls
    if mean >= INTERRUPTED:
        yield Advice(
            "aexs", str(key), "find out what interrupts it: exceptions that could be avoided, or missing pages",
            f"{mean:.1f} AEXs a call, {stats.aexs} in all (threshold: {INTERRUPTED:.0f} a call)",
        )  # fmt: skip


def _short(profile: Profile, key: Key, stats: CallStats) -> Iterator[Advice]:
    """sgx-perf's rule for calls to move or to duplicate."""
    took = stats.undisturbed
    if took.count < FEWEST:
        return
    shares = [below / took.count for below in took.below]
    at = next((at for at, share in enumerate(shares) if share > SHORT[at]), None)
    if at is None:
        return
    figures = (
        f"{shares[at]:.0%} of {took.count} calls without an AEX take less than {BOUNDS[at] // 1000} us "
        f"(threshold: {SHORT[at]:.0%})"
    )
    if key.kind == "ocall":
        text = "do it inside, or have the ECALL bring along what it returns: its transitions take longer"
    else:
        text = "give it more to do, or do it outside: its transitions take longer"
    yield Advice("short", str(key), text, figures)
    share = stats.transitions / profile.transitions if profile.transitions else 0.0
    if share >= SWITCHLESS:
        yield Advice(
            "switchless", str(key), "make it switchless: a thread on the other side waits for it",
            f"short, and {share:.0%} of all transitions (threshold: {SWITCHLESS:.0%})",
        )  # fmt: skip


def _follows(key: Key, stats: CallStats) -> Iterator[Advice]:
    """sgx-perf's rules for calls to batch and to merge."""
    for before, near in stats.after.items():
        share, weight = near.count / stats.calls, _weight(near, WEIGHTS)
        if near.count < FEWEST or share <= FOLLOWS or weight <= CLOSE:
            continue
        figures = (
            f"{share:.0%} of {stats.calls} calls come directly after (threshold: {FOLLOWS:.0%}), "
            f"weight of the gaps {weight:.2f} (threshold: {CLOSE})"
        )
        if before == key:
            yield Advice("batch", str(key), "batch it: one call for several in a row", figures)
        elif before.enclave == key.enclave:
            yield Advice("merge", str(key), f"merge it with {before}, which it follows", figures)


def _edges(key: Key, stats: CallStats) -> Iterator[Advice]:
    """sgx-perf's rule for calls to reorder; of an ECALL's OCALLs we look at the first and the last."""
    for nears, where, what in (stats.early, "begin", "before"), (stats.late, "end", "after"):
        for around, near in nears.items():
            made = stats.callers[around]
            weight = _weight(near, NEAR_WEIGHTS) * near.count / made if made else 0.0
            if near.count >= FEWEST and weight > AT_AN_EDGE:
                yield Advice(
                    "reorder", str(key), f"do it {what} {around}: it is made at its {where}",
                    f"{sum(near.within[:2])} of {made} within 20 us of the {where}, weight {weight:.2f} "
                    f"(threshold: {AT_AN_EDGE})",
                )  # fmt: skip


def _weight(near: Near, weights: tuple[float, ...]) -> float:
    return sum(count * weight for count, weight in zip(near.within, weights, strict=False)) / near.count


def _paging(profile: Profile) -> Iterator[Advice]:
    for enclave, paging in profile.paging.items():
        share = paging.reloads / paging.evictions if paging.evictions else 0.0
        if paging.reloads >= RELOADS and share >= RELOADED:
            yield Advice(
                "epc", f"enclave {enclave}",
                f"the EPC is too small for it: {len(paging.came_back)} pages more would have been used, "
                f"with the {paging.most} at most that it had",
                f"{paging.reloads} of {paging.evictions} evicted pages came back, {share:.0%} "
                f"(threshold: {RELOADED:.0%} and {RELOADS})",
            )  # fmt: skip
