"""What `--cpu intel` makes of AMD's processors: consistent in itself, and no more than the host has."""

from __future__ import annotations

import pytest

from enclu.linux import intel_cpu, procfs
from enclu.linux.intel_cpu import Cpuid, Registers
from tests.support import amd_hosts

ERMS, FSRM = 1 << 9, 1 << 4
AVX2, AVX512F = 1 << 5, 1 << 16
TOPOEXT = 1 << 22
Answers = dict[tuple[int, int], Registers]


def without_topology_extensions(answers: Answers) -> Answers:
    """As hypervisors show AMD's processors."""
    eax, ebx, ecx, edx = answers[0x8000_0001, 0]
    return {k: v for k, v in answers.items() if k[0] not in (0x8000_001D, 0x8000_001E)} | {
        (0x8000_0001, 0): (eax, ebx, ecx & ~TOPOEXT, edx)
    }


def without_caches(answers: Answers) -> Answers:
    return {k: v for k, v in without_topology_extensions(answers).items() if k[0] not in (0x8000_0005, 0x8000_0006)}


HOSTS: dict[str, Answers] = {name: amd_hosts.table(name) for name in amd_hosts.TABLES}
HOSTS |= {f"{name} in a hypervisor": without_topology_extensions(answers) for name, answers in HOSTS.items()}
HOSTS["epyc-7713 without caches"] = without_caches(HOSTS["epyc-7713"])


@pytest.fixture(params=HOSTS)
def host(request: pytest.FixtureRequest) -> Cpuid:
    return amd_hosts.cpuid(HOSTS[request.param])


@pytest.fixture
def shown(host: Cpuid) -> Cpuid:
    return intel_cpu.of(host)


def caches(cpuid: Cpuid) -> list[Registers]:
    found: list[Registers] = []
    for subleaf in range(16):
        if not cpuid(4, subleaf)[0] & 0x1F:
            return found
        found.append(cpuid(4, subleaf))
    raise AssertionError("leaf 4 has no end")


def size(registers: Registers) -> int:
    _, ebx, ecx, _ = registers
    return ((ebx >> 22) + 1) * ((ebx >> 12 & 0x3FF) + 1) * ((ebx & 0xFFF) + 1) * (ecx + 1)


def by_level(cpuid: Cpuid) -> dict[tuple[int, int], int]:
    return {(r[0] >> 5 & 7, r[0] & 0x1F): size(r) for r in caches(cpuid)}


def test_the_vendor_is_intel(shown: Cpuid) -> None:
    _, ebx, ecx, edx = shown(0, 0)
    assert b"".join(r.to_bytes(4, "little") for r in (ebx, edx, ecx)) == b"GenuineIntel"


def test_no_feature_is_added(host: Cpuid, shown: Cpuid) -> None:
    for leaf, subleaf in ((1, 0), (7, 0), (7, 1), (0xD, 1)):
        for told, real in zip(shown(leaf, subleaf)[1:], host(leaf, subleaf)[1:], strict=True):
            assert told & ~real == 0, hex(leaf)
    for leaf in (0x8000_0001, 0x8000_0007, 0x8000_0008):
        for told, real in zip(shown(leaf, 0), host(leaf, 0), strict=True):
            assert told & ~real == 0, hex(leaf)


def test_string_instructions_that_intel_promises_to_be_fast_are_not_promised(shown: Cpuid) -> None:
    _, ebx, _, edx = shown(7, 0)
    assert not ebx & ERMS and not edx & FSRM


def test_other_features_of_leaf_7_stay(host: Cpuid, shown: Cpuid) -> None:
    real, told = host(7, 0), shown(7, 0)
    assert told == (real[0], real[1] & ~ERMS, real[2], real[3] & ~FSRM)


def test_what_amd_documents_alone_is_hidden(shown: Cpuid) -> None:
    eax, ebx, ecx, edx = shown(0x8000_0001, 0)
    assert (eax, ebx) == (0, 0) and ecx & ~0x121 == 0 and edx & ~0x2C10_0800 == 0
    assert ecx & 0x121 == 0x121, "LAHF, LZCNT and PREFETCHW are Intel's, too"
    assert shown(0x8000_0005, 0) == (0, 0, 0, 0)
    assert shown(0x8000_0008, 0)[2:] == (0, 0)
    for leaf in range(0x8000_0009, 0x8000_0030):
        assert shown(leaf, 0) == shown(leaf, 1) == (0, 0, 0, 0)


def test_leaves_beyond_the_highest_are_zero(shown: Cpuid) -> None:
    highest, extended = shown(0, 0)[0], shown(0x8000_0000, 0)
    assert highest >= 0x12 and extended == (0x8000_0008, 0, 0, 0)
    for leaf in (highest, highest + 1, 0x20, 0x2000_0000, 0x8086_0000, 0xC000_0000, 0xFFFF_FFFF):
        assert shown(leaf, 0) == (0, 0, 0, 0)


def test_a_hypervisor_stays_what_it_is() -> None:
    kvm = (0x4000_0001, 0x4B4D_564B, 0x564B_4D56, 0x4D)
    shown = intel_cpu.of(amd_hosts.cpuid(HOSTS["epyc-7713"] | {(0x4000_0000, 0): kvm}))
    assert shown(0x4000_0000, 0) == kvm


def test_the_caches_come_to_an_end_and_have_two_levels(shown: Cpuid) -> None:
    assert shown(2, 0)[0] & 0xFF == 1 and shown(2, 0)[0] >> 8 & 0xFF == 0xFF, "one round, and see leaf 4"
    levels = by_level(shown)
    assert {(1, 1), (1, 2), (2, 3)} <= levels.keys() <= {(1, 1), (1, 2), (2, 3), (3, 3)}
    assert levels[1, 1] >= 16 << 10 and levels[2, 3] >= 256 << 10


def test_processors_that_share_caches_are_no_more_than_there_are(shown: Cpuid) -> None:
    logical = shown(1, 0)[1] >> 16 & 0xFF
    for eax, _, _, _ in caches(shown):
        assert 1 <= (eax >> 14 & 0xFFF) + 1 <= logical


@pytest.mark.parametrize(
    ("name", "first", "second", "third"),
    [
        ("ryzen-1700x", 32, 512, 8 << 10),
        ("epyc-7742", 32, 512, 16 << 10),
        ("epyc-7713", 32, 512, 32 << 10),
        ("epyc-9654", 32, 1024, 32 << 10),
        ("epyc-9655", 48, 1024, 32 << 10),
    ],
)
def test_the_caches_are_the_hosts(name: str, first: int, second: int, third: int) -> None:
    levels = by_level(intel_cpu.of(amd_hosts.cpuid(HOSTS[name])))
    assert [levels[level] >> 10 for level in ((1, 1), (2, 3), (3, 3))] == [first, second, third]


@pytest.mark.parametrize("name", amd_hosts.TABLES)
def test_where_the_leaf_of_caches_is_hidden_the_sizes_come_from_the_older_ones(name: str) -> None:
    levels = by_level(intel_cpu.of(amd_hosts.cpuid(HOSTS[f"{name} in a hypervisor"])))
    told = HOSTS[name]
    assert levels[1, 1] == (told[0x8000_0005, 0][2] >> 24) << 10
    assert levels[2, 3] == (told[0x8000_0006, 0][2] >> 16) << 10


def test_a_vendor_that_has_intels_leaf_of_caches_keeps_it() -> None:
    """Zhaoxin's, for one."""
    data = (0x121, 0x1C0_003F, 0x3F, 0)
    shown = intel_cpu.of(amd_hosts.cpuid({(0, 0): (0xD, 0x746E_6543, 0x736C_7561, 0x4872_7561), (4, 0): data}))
    assert caches(shown) == [data]


def test_the_topology_is_complete(shown: Cpuid) -> None:
    """As leaf 0xB is read (SDM 3A section 10.9): levels in order, each at least as wide as the one before."""
    (smt_bits, smt, smt_type, apic), (core_bits, logical, core_type, same) = shown(0xB, 0), shown(0xB, 1)
    assert (smt_type >> 8, core_type >> 8) == (1, 2) and shown(0xB, 2)[1] == shown(0xB, 2)[2] >> 8 == 0
    assert 1 <= smt <= logical and smt <= 1 << smt_bits and logical <= 1 << core_bits and apic == same
    assert logical == shown(1, 0)[1] >> 16 & 0xFF


def test_a_processor_without_a_leaf_of_topology_gets_one() -> None:
    """Zen: eight cores of two threads."""
    shown = intel_cpu.of(amd_hosts.cpuid(HOSTS["ryzen-1700x"]))
    assert shown(0xB, 0)[:2] == (1, 2) and shown(0xB, 1)[:2] == (4, 16)


@pytest.mark.parametrize(
    ("name", "signature"), [("epyc-7742", 0x906ED), ("epyc-9654", 0x606A6), ("epyc-9655", 0x606A6)]
)
def test_the_model_promises_no_more_than_the_host_has(name: str, signature: int) -> None:
    assert intel_cpu.of(amd_hosts.cpuid(HOSTS[name]))(1, 0)[0] == signature


def test_a_host_without_avx2_is_shown_as_a_model_without_it() -> None:
    answers = dict(HOSTS["epyc-7742"])
    eax, ebx, ecx, edx = answers[7, 0]
    answers[7, 0] = eax, ebx & ~AVX2, ecx, edx
    assert intel_cpu.of(amd_hosts.cpuid(answers))(1, 0)[0] == 0x706A8


def test_a_name_says_that_it_is_of_our_making(shown: Cpuid) -> None:
    assert intel_cpu.brand(shown) == "Intel(R) Xeon(R) Processor (enclu)"


def test_a_processor_of_intels_is_left_alone() -> None:
    intel = amd_hosts.cpuid({(0, 0): (0x1B, *intel_cpu.INTEL)})
    assert intel_cpu.of(intel) is intel


AMD_CPUINFO = """\
processor\t: {}
vendor_id\t: AuthenticAMD
cpu family\t: 25
model\t\t: 1
model name\t: AMD EPYC 7713 64-Core Processor
stepping\t: 1
cache size\t: 512 KB
cpuid level\t: 16
flags\t\t: fpu sse mmxext lm svm sse4a topoext erms fsrm avx2 wbnoinvd
bugs\t\t: sysret_ss_attrs
TLB size\t: 2560 4K pages
power management: ts ttp tm hwpstate cpb eff_freq_ro [13] [14]

"""


def test_cpuinfo_agrees_for_every_processor() -> None:
    cpuid = intel_cpu.of(amd_hosts.cpuid(HOSTS["epyc-7713"]))
    text = procfs.as_intel(AMD_CPUINFO.format(0) + AMD_CPUINFO.format(1), cpuid)
    first, second = text.removesuffix("\n\n").split("\n\n")
    assert second == first.replace("processor\t: 0", "processor\t: 1")
    assert first.splitlines()[1:] == [
        "vendor_id\t: GenuineIntel",
        "cpu family\t: 6",
        "model\t\t: 158",
        "model name\t: Intel(R) Xeon(R) Processor (enclu)",
        "stepping\t: 13",
        "cache size\t: 32768 KB",
        "cpuid level\t: 22",
        "flags\t\t: fpu sse lm avx2 wbnoinvd",
        "bugs\t\t: sysret_ss_attrs",
        "power management:",
    ]
