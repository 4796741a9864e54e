"""Measures what it takes to start a run, and a program in it; ratios of neighbours, medians of several.

.venv/bin/python benchmarks/start.py
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from run import report, seconds

ROUNDS = 21
RUN = [str(Path(sys.executable).with_name("enclu")), "run"]
EXECS = ["sh", "-c", "i=0; while [ $i -lt 300 ]; do /bin/true; i=$((i+1)); done"]
CASES = {
    "a run of true, s (floor: Python)": ([*RUN, "true"], [sys.executable, "-c", "pass"], 5.0),
    "300 execs in a shell, s": ([*RUN, *EXECS], EXECS, 5.0),
}
"""What is measured, its floor, and how many times that it may take."""


def main() -> None:
    # Python's own modules are compiled beforehand, and enclu's are to be, as where it is installed.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    print(f"{'':34} {'enclu':>9} {'floor':>9} {'ratio':>7}")
    for name, (ours, floor, limit) in CASES.items():
        seconds(ours, env)
        pairs = [(seconds(ours, env), seconds(floor, env)) for _ in range(ROUNDS)]
        report(name, [a for a, _ in pairs], [b for _, b in pairs], limit)


if __name__ == "__main__":
    main()
