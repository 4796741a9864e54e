"""Programs that misuse SGX: the trace alone tells what they did wrong.  docs/diagnosing.md has the same lines."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.runs import enclu, environment, run

DIAGNOSING = Path(__file__).resolve().parents[2] / "docs" / "diagnosing.md"
AT = "0x[0-9a-f]+"
NO_CODE = "no code is there, where the thread goes on after an AEX: RCX of EENTER or ERESUME"
# program -> what its trace says, in this order
MISUSES = {
    "tcs_busy": [rf"EENTER tcs={AT} -> #GP: the TCS is busy: another logical processor is in it"],
    "not_initialised": [rf"EENTER tcs={AT} -> #GP: the enclave is not initialised \(EINIT\)"],
    "page_restricted": [
        r"SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS eid=1 = 0",
        rf"#PF\(0x8007\) at {AT} at enclave 1 \+ {AT}: the EPCM does not allow this write",
    ],
    "attributes": [
        r"SGX_IOC_ENCLAVE_INIT eid=1 -> EPERM: EINIT: SGX_INVALID_ATTRIBUTE: "
        r"SIGSTRUCT\.ATTRIBUTES is 0x4 under ATTRIBUTEMASK 0xffffffffffffffff, but the SECS has 0x6"
    ],
    "measurement": [
        r"SGX_IOC_ENCLAVE_INIT eid=1 -> EPERM: EINIT: SGX_INVALID_MEASUREMENT: "
        r"SIGSTRUCT\.ENCLAVEHASH is [0-9a-f]{64}, but what was loaded measures [0-9a-f]{64}"
    ],
    "cssa_exhausted": [
        rf"#UD at enclave 1 \+ {AT}: invalid opcode",
        rf"EENTER tcs={AT} -> #GP: no SSA frame left: TCS\.CSSA is 3, NSSA 3",
    ],
    "no_frame": [rf"ERESUME tcs={AT} -> #GP: no SSA frame to resume from: TCS\.CSSA = 0"],
    "eaccept": [
        rf"EACCEPT tcs={AT} -> SGX_PAGE_ATTRIBUTES_MISMATCH: SECINFO says PT_REG RW- pr, the EPCM PT_REG R-- at {AT}"
    ],
    "provision_key": [
        rf"EGETKEY tcs={AT} -> SGX_INVALID_ATTRIBUTE: PROVISION_KEY with ISVSVN 0, CPUSVN 0{{32}}, "
        r"for an enclave with ATTRIBUTES 0x5, ISVSVN 1"
    ],
    "mmap": [rf"mmap -> EACCES: page {AT} was added with rw- and cannot be mapped rwx"],
    "mprotect": [rf"mprotect -> EACCES: page {AT} was added with r-x and cannot be mapped rw-"],
    "add_pages": [r"SGX_IOC_ENCLAVE_ADD_PAGES eid=1 -> EINVAL: the enclave is initialised already"],
    "xfrm": [
        r"SGX_IOC_ENCLAVE_CREATE eid=0 -> EIO: ECREATE: #GP\(0x0\): SECS\.ATTRIBUTES\.XFRM 0x10000000003 not supported"
        rf": the machine offers {AT}"
    ],
    "exit_target": [rf"EEXIT tcs={AT} -> #GP: the target 0x800000000000 is not canonical"],
    "fork": [
        rf"EENTER tcs={AT} -> #PF\(0x4\) at {AT}: a forked child has the mapping of its parent, and not the enclave"
    ],
    "syscall": [rf"#UD at enclave 1 \+ {AT}: SYSCALL in an enclave"],
    "aep": [
        rf"AEX #PF eid=1 tcs={AT} rip={AT}",
        rf"AEP 0x1000 tcs={AT} -> {NO_CODE}",
    ],
}  # fmt: skip


@pytest.mark.parametrize("way", ["--fast-path", "--no-fast-path"])
@pytest.mark.parametrize("name", MISUSES)
def test_its_trace_names_the_cause(
    name: str, way: str, program: Callable[[str], Path], enclave_environment: dict[str, str], tmp_path: Path
) -> None:
    log = tmp_path / "log"
    built = program(f"misuse_{name}")
    done = enclu("trace", way, "-o", log, built, env=environment(**enclave_environment))
    assert done.returncode != 0
    trace = log.read_text()
    found = [re.search(rf"^\[\d+\] {line}", trace, re.MULTILINE) for line in MISUSES[name]]
    assert all(found), trace
    assert [match.start() for match in found if match] == sorted(match.start() for match in found if match), trace


def test_without_a_trace_the_last_of_it_is_said(
    program: Callable[[str], Path], enclave_environment: dict[str, str]
) -> None:
    done = run(program("misuse_aep"), env=environment(**enclave_environment))
    assert done.returncode == -signal.SIGSEGV
    assert done.stderr.endswith(f": {NO_CODE}\n") and "was ended by SIGSEGV; last refusal: AEP 0x1000" in done.stderr


def test_the_document_has_these_lines() -> None:
    text = DIAGNOSING.read_text()
    assert [line for lines in MISUSES.values() for line in lines if not re.search(line, text)] == []
