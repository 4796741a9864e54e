"""Microseconds that an ECALL from Python takes, and back: ecall.py IMAGE [ANSWER].

With ANSWER (answer.c), the agent is that program: what is left is Python's own work and the hand-over.
"""

from __future__ import annotations

import sys
import time

import enclu

COUNT = 5000

if len(sys.argv) > 2:
    sys.executable = sys.argv[2]  # which would run `enclu run` for the agent

with enclu.Machine() as machine, machine.process() as process:
    enclave = process.load(sys.argv[1])
    for _ in range(COUNT // 10):
        enclave.ecall(0, 1)
    start = time.perf_counter()
    for _ in range(COUNT):
        enclave.ecall(0, 1)
    print((time.perf_counter() - start) / COUNT * 1e6)
