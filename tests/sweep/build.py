"""The proof enclave, built and signed: sound, or with weaknesses that it is asked to have.

python -m tests.sweep.build PATH [WEAKNESS ...]
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import enclu
from enclu.host import signing
from enclu.sgx.epc import PAGE_SIZE
from enclu.sgx.structs import Attribute
from tests.host.sdk.conftest import LAYOUT, build
from tests.support.enclave_images import Page, sgxs

ENCLAVES = Path(__file__).parent / "enclaves"
XFRM = 7
WRITABLE_CODE, UNMEASURED_CODE = "WX_PAGES", "UNMEASURED_CODE"
OF_THE_IMAGE = (WRITABLE_CODE, UNMEASURED_CODE)
"""The others are of the sources."""
WEAKNESSES = (
    "OLD_ORDER", "KEEPS_DF", "KEEPS_AC", "KEEPS_NT", "KEEPS_MXCSR", "KEEPS_X87_CW", "KEEPS_X87_TAGS", "LEAVES_GPRS",
    "LEAVES_FLAGS", "LEAVES_VECTORS", "LEAVES_X87", "ACCEPTS_INVALID_EXITINFO", "ACCEPTS_ANY_VECTOR",
    "REENTERS_HANDLER", "POINTER_INSIDE", "POINTER_STRADDLES", "POINTER_NULL", "DOUBLE_FETCH", "BEFORE_INIT",
    "OCALL_RESULT_UNCHECKED", "KEEPS_RSP", "PUSHES_EARLY", "HANDLES_AT_0", "ECALL_AT_1", "GIVES_UP_CALLS",
    "PRIVATE_FROM_ROOT", "DURING_OCALLS", "STRAY_RETURN", "EACCEPT_UNCHECKED",
)  # fmt: skip
"""What the enclave can be built with, and OF_THE_IMAGE besides."""
EXECUTABLE = 4


def proof(path: Path, *weaknesses: str, debug: bool = False, aex_notify: bool = False) -> Path:
    """`debug` tells whether it may be a debug enclave.  Raises ValueError for a weakness that there is not."""
    unknown = set(weaknesses) - {*WEAKNESSES, *OF_THE_IMAGE}
    if unknown:
        raise ValueError(f"no weaknesses: {', '.join(sorted(unknown))}")
    layout = LAYOUT
    if WRITABLE_CODE in weaknesses:
        layout = path.with_suffix(".lds")
        layout.write_text(LAYOUT.read_text().replace("FLAGS(6)", "FLAGS(7)"))
    built = build(
        path, [ENCLAVES / "entry.S", ENCLAVES / "trts.c"],
        *(f"-D{name}={int(name in weaknesses)}" for name in WEAKNESSES), script=layout,
        attributes=Attribute.MODE64BIT | (Attribute.AEXNOTIFY if aex_notify else 0), xfrm=XFRM, debug=debug,
    )  # fmt: skip
    if UNMEASURED_CODE in weaknesses:
        _leave_code_unmeasured(built, debug)
    return built


def _leave_code_unmeasured(path: Path, debug: bool) -> None:
    """Make an SGXS stream of the image, signed, for ELF images have all of their segments measured."""
    image = enclu.open_image(path)
    pages: list[Page] = []
    for run in itertools.chain.from_iterable(region.pages() for region in image.regions() if region.added):
        measured = 0 if run.flags & EXECUTABLE else run.measured
        for at in range(0, len(run.data), PAGE_SIZE):
            pages.append((run.offset + at, bytes(run.data[at : at + PAGE_SIZE]), run.flags, measured))
    stream = path.with_suffix(".sgxs")
    stream.write_bytes(sgxs(pages, image.size, image.ssa_frame_size))
    unsigned = signing.unsigned(image, debug=debug, ENCLAVEHASH=enclu.open_image(stream).mrenclave())
    stream.replace(path)
    sigstruct = signing.sign(unsigned, signing.signing_key(path.with_name("key.pem")))
    path.with_name(path.name + ".sig").write_bytes(sigstruct)


if __name__ == "__main__":
    try:
        proof(Path(sys.argv[1]), *sys.argv[2:])
    except (IndexError, ValueError) as error:
        sys.exit(f"usage: python -m tests.sweep.build PATH [{'|'.join([*WEAKNESSES, *OF_THE_IMAGE])} ...]: {error}")
