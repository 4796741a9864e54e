"""docs/stepping.md: what a reader copies from it works."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.support.runs import enclu as command

TEXT = (Path(__file__).resolve().parents[3] / "docs" / "stepping.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def test_its_enclave_tells_its_password_by_the_number_of_instructions(tmp_path: Path) -> None:
    (tmp_path / "password.c").write_text(blocks("c")[0])
    subprocess.run(["openssl", "genrsa", "-3", "-out", tmp_path / "key.pem", "3072"], check=True, capture_output=True)
    for arguments in (("build", "password.c"), ("sign", "password.elf", "--key", "key.pem")):
        done = command(*arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert f"enclu {' '.join(arguments)}\n" in TEXT
    script = "\n".join([*blocks("python"), "machine.close()"])
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    counts = [int(n) for n in re.findall(r"^b'\w{6}' (\d+)$", done.stdout, re.MULTILINE)]
    assert len(counts) == 3 and counts[0] < counts[1] < counts[2]
    assert "0 enclave_entry+0x0 (entry.S:" in done.stdout
    assert re.search(r"^0x[0-9a-f]+000 fetch \d+$", done.stdout, re.MULTILINE)
