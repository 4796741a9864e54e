"""The measurements, which a clean checkout does not run, must at least build in it."""

from __future__ import annotations

import os
from pathlib import Path

from benchmarks import run


def test_what_the_benchmarks_run_compiles_from_the_tree(tmp_path: Path) -> None:
    env = run.build(tmp_path)
    assert {name for name in os.listdir(tmp_path) if os.access(tmp_path / name, os.X_OK)} >= {
        "pair", "exception", "build_enclave", "walk", "calls", "floor", "compute", "seal", "stop", "answer",
    }  # fmt: skip
    assert Path(env["ENCLU_TEST_ENCLAVE"]).is_file() and (tmp_path / "walk_enclave.elf").is_file()
