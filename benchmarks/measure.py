"""Seconds that reading and measuring an image of so many MiB takes: measure.py FORMAT MIB FOLDER; elf or sgxs.

The image is written first; an interpreter of its own measures it.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from enclu.host.images.elf_file import EHDR, PHDR
from enclu.sgx.measurement import eadd, ecreate, eextend
from enclu.sgx.structs import SECINFO, TCS

PAGE = 4096
REG_RW = SECINFO.pack(FLAGS=0x203)
TIMED = """
import sys, time
start = time.perf_counter()
from enclu.host.images import open_image
open_image(sys.argv[1]).mrenclave()
print(time.perf_counter() - start)
"""


def elf(path: Path, mib: int) -> None:
    """As the kernel's selftest has them: a TCS, and pages."""
    size = mib << 20
    segments = [(6, PAGE, 0, PAGE), (6, 2 * PAGE, PAGE, size)]
    with path.open("wb") as file:
        ident = b"\x7fELF\2\1\1" + bytes(9)
        file.write(EHDR.pack(e_ident=ident, e_type=2, e_machine=62, e_version=1, e_phoff=EHDR.size, e_ehsize=EHDR.size,
                             e_phentsize=PHDR.size, e_phnum=len(segments)))  # fmt: skip
        for flags, offset, address, length in segments:
            file.write(PHDR.pack(p_type=1, p_flags=flags, p_offset=offset, p_vaddr=address, p_filesz=length,
                                 p_memsz=length, p_align=PAGE))  # fmt: skip
        file.seek(PAGE)
        file.write(TCS.pack(OSSA=PAGE, NSSA=1))
        for _ in range(mib):
            file.write(bytes(range(256)) * (1 << 12))


def sgxs(path: Path, mib: int) -> None:
    with path.open("wb") as file:
        file.write(ecreate(1, 2 * mib << 20))
        chunk = bytes(range(256))
        for page in range(0, mib << 20, PAGE):
            file.write(eadd(page, REG_RW) + b"".join(eextend(at, chunk) for at in range(page, page + PAGE, 256)))


def main() -> None:
    name, mib, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    path = folder / f"{mib}.{name}"
    if not path.exists():
        {"elf": elf, "sgxs": sgxs}[name](path, mib)
    subprocess.run([sys.executable, "-c", TIMED, path], check=True)


if __name__ == "__main__":
    main()
