"""The memory that this host, or the control group that we are in, has for an EPC.

Kernel: Documentation/filesystems/proc.rst (meminfo), Documentation/admin-guide/cgroup-v2.rst (memory.max).
"""

from __future__ import annotations

import contextlib
import os
import re
from typing import TYPE_CHECKING

from enclu.sgx.epc import MINIMUM_SIZE

if TYPE_CHECKING:
    from pathlib import Path

ORDINARY_EPC = 2 << 30
"""Bytes of EPC that ordinary programs do not use up: those of library operating systems take 256 MiB a process."""


def total() -> int:
    """Bytes that processes here can have at all."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = group_limit()
    return machine if limit is None else min(machine, limit)


def free() -> int:
    """Bytes that are free now, as far as the kernel can tell."""
    try:
        with open("/proc/meminfo") as file:
            found = re.search(r"^MemAvailable:\s*(\d+) kB", file.read(), re.MULTILINE)
    except OSError:
        found = None  # a /proc mounted with subset=pid
    return int(found[1]) << 10 if found else os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def group_limit(groups: str | Path = "/sys/fs/cgroup", own: str | Path = "/proc/self/cgroup") -> int | None:
    """The least memory.max of our control group and those that it is in, None where there is none."""
    try:
        with open(own) as file:
            found = [line[4:] for line in file.read().split("\n") if line.startswith("0::/")]
    except OSError:
        found = []
    names = [name for path in found[:1] for name in path.split("/") if name]
    if ".." in names:
        names = []  # it is outside our namespace
    limits = []
    for depth in range(len(names) + 1):
        limit = os.path.join(groups, *names[:depth], "memory.max")
        with contextlib.suppress(OSError, ValueError), open(limit) as file:  # the root has none; "max"
            limits.append(int(file.read()))
    return min(limits, default=None)


def default_epc() -> int:
    """The size of an EPC when nobody asks for one: it should not page by accident, nor take half of the memory."""
    return max(MINIMUM_SIZE, min(ORDINARY_EPC, total() // 2 & -MINIMUM_SIZE))


def check_epc(size: int) -> None:
    """Raises ValueError for an EPC that cannot be had, with the reason and the way out."""
    most = total()
    if size > most:
        raise ValueError(
            f"an EPC of {size >> 20:,} MiB is too large: its pages are in memory, of which this machine or control "
            f"group has {most >> 20:,} MiB; choose a smaller one, what does not fit into it is evicted"
        )
