"""What enclaves in C leave in registers when they exit, and what control words they find when they are entered.

By the instance of a runtime that records registers; the enclaves are built as `enclu build` builds them.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from enclu.compare import catalog
from enclu.compare.build import Builder
from enclu.compare.runner import Outcome, Task, run_once
from enclu.host import signing
from enclu.host.build import Layout, build_enclave
from enclu.host.conventions.enclu_abi import Leave, call_word
from enclu.host.images import open_image
from tests.compare.test_build import TOML, scenario

ENCLAVE = """
#include "trusted.h"

enum { CONTROL_WORDS, SECRETS };

uint64_t enclave_main(struct thread *thread, uint64_t function, void *argument)
{
	uint64_t secret = 0x5ec4e75ec4e75ec4;
	uint32_t mxcsr;
	uint16_t x87;

	(void)thread, (void)argument;
	__asm__ volatile("stmxcsr %0; fnstcw %1" : "=m"(mxcsr), "=m"(x87));
	if (function == CONTROL_WORDS)
		return (uint64_t)x87 << 32 | mxcsr;
#define FILL(n) __asm__ volatile("movq %0, %%xmm" #n "; punpcklqdq %%xmm" #n ", %%xmm" #n : : "r"(secret) : "xmm" #n)
	FILL(0); FILL(1); FILL(2); FILL(3); FILL(4); FILL(5); FILL(6); FILL(7);
	FILL(8); FILL(9); FILL(10); FILL(11); FILL(12); FILL(13); FILL(14); FILL(15);
#if XFRM & 4
	__asm__ volatile("vinsertf128 $1, %%xmm3, %%ymm3, %%ymm3" : : : "xmm3");
#endif
	__asm__ volatile("mov %0, %%r8; mov %0, %%r12; mov %0, %%rsi" : : "r"(secret) : "r8", "r12", "rsi");
	return 0;
}
"""
MAIN = """
#include "scenario.h"

int main(void)
{
	static const uint8_t zero[256];
	struct sgx_runtime *runtime = open_runtime("probe");
	struct sgx_enclave enclave;
	uint64_t result = 0;
	const struct sgx_registers *after = runtime->after;

	must_start(runtime);
	refused_if(runtime->load(&enclave, IMAGE), "loading");
	ok_eq(runtime->call(&enclave, sgx_tcs(&enclave, 0), 0, NULL, NULL, &result, NULL), 0, "an ECALL");
	ok_eq(result, 0x37f00001f80, "the enclave has the processor's initial control words, not its host's");
	ok_eq(runtime->call(&enclave, sgx_tcs(&enclave, 0), 1, NULL, NULL, &result, NULL), 0, "another");
	ok(!memcmp(after->fxsave + 160, zero, 256), "XMM registers are zero");
	if (AVX)
		ok(!memcmp(after->ymm_high, zero, sizeof(after->ymm_high)), "the upper halves are, too");
	for (int i = 8; i < 16; i++)
		ok_eq(after->gpr[i], 0, "R%d is zero", i);
	ok_eq(after->gpr[6] | after->gpr[2], 0, "RSI and RDX are");
	ok_eq(after->gpr[7], WORD, "RDI says that this ECALL is over, and no more");
	finish();
}
"""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("avx", [False, True], ids=["sse", "avx"])
def test_an_enclave_leaves_nothing_in_registers(tmp_path: Path, avx: bool) -> None:
    image = tmp_path / "enclave.elf"
    (tmp_path / "enclave.c").write_text(ENCLAVE)
    flags = ["-Werror", *(["-mavx"] if avx else [])]
    build_enclave([tmp_path / "enclave.c"], image, Layout(xfrm=7 if avx else 3), flags=flags)
    key = signing.signing_key(tmp_path / "key.pem")
    image.with_name("enclave.elf.sig").write_bytes(signing.sign(signing.unsigned(open_image(image)), key))
    root = Path(shutil.copytree(catalog.find_root(), tmp_path / "scenarios"))
    for path in root.glob("*/scenario.toml"):
        shutil.rmtree(path.parent)
    mine = scenario(
        root,
        f"{TOML}flags = ['-DIMAGE=\"{image}\"', '-DAVX={int(avx)}', '-DWORD={call_word(Leave.DONE, 1)}']\n",
        main_c=MAIN,
    )
    ended = run_once(Task(mine, "signal", _build_signal(root, mine)))
    assert ended.outcome is Outcome.WORKS, ended


def _build_signal(root: Path, mine: catalog.Scenario) -> Path:
    """As compare.test_build builds, with the runtime of `signal`, which executes ENCLU itself."""
    known = catalog.read(root)
    only = catalog.Catalog(root, known.scenarios, {"signal": known.runtimes["signal"]}, known.enclaves)
    builder = Builder(only, root.parent / "build")
    builder.build([mine], 2)
    return builder.program(mine)
