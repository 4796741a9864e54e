"""Thousands of mutated images: an ImageError or an answer, in bounded time and memory, never anything else."""

import random
import resource
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import enclu
from enclu.host import signing
from enclu.host.conventions.open_enclave import OeError
from enclu.host.conventions.sdk import SdkError
from enclu.host.errors import HostError
from enclu.host.images import open_image
from enclu.host.images.regions import Region
from enclu.host.inspection import Inspection, type_name
from tests.support.enclave_images import PAGE

EXAMPLES = {"elf": 1250, "sgxs": 1250, "intel-sdk": 1500, "open-enclave": 1250}
"""More than 5,000 in all."""
LOADS = {"elf": 1500, "sgxs": 1500, "intel-sdk": 500, "open-enclave": 1500}
"""5,000 in all."""
SLOW = 256 << 20
"""Bytes: the pages of an image that declares more are not measured here; that it opens is enough."""
SECONDS, MEMORY = 20, 1 << 30
"""Of the processors' time, which does not depend on who else uses them; bytes."""
LIMITS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 1 << 31, (1 << 32) - 1, 1 << 40, (1 << 63) - 1, (1 << 64) - 1)

changes = st.lists(
    st.tuples(
        st.integers(0, 1 << 20), st.sampled_from(["<B", "<H", "<I", "<Q"]),
        st.one_of(st.sampled_from(LIMITS), st.integers(0, (1 << 64) - 1)),
    ),
    min_size=1, max_size=6,
)  # fmt: skip


def hot_spots(data: bytes) -> list[int]:
    """Where structures are: what a mutation should hit."""
    spots = list(range(0, 0x400, 2))
    shoff = int.from_bytes(data[40:48], "little")
    for marker, length in (
        (b"sgx_metadata\0", 0xB80), (struct.pack("<IIQ", 1960, 2, 3), 160), (b"enclu\0\0\0", 48),
        (b"EEXTEND\0", 64), (b"UNMEASRD", 64), (b"EADD\0", 64),
    ):  # fmt: skip
        at = data.find(marker)
        if at >= 0:
            spots += range(at, min(at + length, len(data) - 8), 2)
    if data[:4] == b"\x7fELF" and shoff < len(data):
        spots += range(shoff, len(data) - 8, 2)
    return [spot for spot in spots if spot < len(data) - 8]


def mutated(original: bytes, spots: list[int], found: list[tuple[int, str, int]]) -> bytearray:
    data = bytearray(original)
    for at, code, value in found:
        width = struct.calcsize(code)
        spot = spots[at % len(spots)]
        data[spot : spot + width] = (value % (1 << 8 * width)).to_bytes(width, "little")
    return data


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", EXAMPLES)
def test_any_change_gives_an_answer_or_an_error_that_names_the_file(
    tmp_path: Path, image_file: Callable[[str], Path], name: str
) -> None:
    original = image_file(name).read_bytes()
    spots = hot_spots(original)
    path = tmp_path / "mutated"
    outcomes = {"refused": 0, "measured": 0}

    @settings(max_examples=EXAMPLES[name], database=None, suppress_health_check=list(HealthCheck))
    @given(changes, st.integers(0, 20))
    def mutate(found: list[tuple[int, str, int]], cut: int) -> None:
        data = mutated(original, spots, found)
        if cut == 0:
            del data[random.Random(found[0][0]).randrange(len(data)) :]
        path.write_bytes(data)
        begun = time.process_time()
        try:
            image = open_image(path)
            if sum(r.size for r in image.regions() if r.added) <= SLOW:
                Inspection(image).as_dict()
            outcomes["measured"] += 1
        except HostError as error:
            assert str(path) in str(error)
            outcomes["refused"] += 1
        assert time.process_time() - begun < SECONDS

    mutate()
    assert min(outcomes.values()) > 20, outcomes
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 < MEMORY


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", EXAMPLES)
def test_any_change_is_loaded_and_started_or_refused(
    tmp_path: Path, image_file: Callable[[str], Path], name: str
) -> None:
    """Whoever changes an image may sign it, too: then EINIT accepts it, and its code runs."""
    original = image_file(name).read_bytes()
    spots = hot_spots(original)
    path = tmp_path / "mutated"
    key = signing.signing_key(tmp_path / "key.pem")
    outcomes = {"refused": 0, "entered": 0}

    with enclu.Machine() as machine:
        process = machine.process()

        @settings(max_examples=LOADS[name], database=None, suppress_health_check=list(HealthCheck))
        @given(changes)
        @example([(96, "<H", 40960)])  # pages that are reserved lie over others, which may not be written
        def mutate(found: list[tuple[int, str, int]]) -> None:
            nonlocal process
            path.write_bytes(mutated(original, spots, found))
            if not process.alive:
                process = machine.process()  # the enclave has broken it: RBP, say, is its host's only by agreement
            begun = time.process_time()
            try:
                image = open_image(path)
                if sum(r.size for r in image.regions() if r.added) > SLOW:
                    return
                image.sigstruct = signing.sign(signing.unsigned(image), key)
                with process.load(image, start_timeout=0.05) as enclave:
                    enclave.ecall(0, timeout=0.05)
                outcomes["entered"] += 1
            except (enclu.EnclaveException, enclu.EnclaveTimeout, enclu.ProcessDied, SdkError, OeError):
                outcomes["entered"] += 1
            except HostError:
                outcomes["refused"] += 1
            assert time.process_time() - begun < SECONDS

        mutate()
    assert outcomes["refused"] > 20, outcomes
    # Of the SGX stream, parts of pages are measured, which Linux's driver cannot do.
    assert outcomes["entered"] > 20 or name == "sgxs", outcomes


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_file_cut_at_any_page_or_near_its_start_is_refused_or_measured(
    tmp_path: Path, image_file: Callable[[str], Path], name: str
) -> None:
    original = image_file(name).read_bytes()
    path = tmp_path / "cut"
    for length in [*range(1, 256, 7), *range(PAGE, len(original), PAGE), len(original) - 1]:
        path.write_bytes(original[:length])
        try:
            Inspection(open_image(path)).as_dict()
        except HostError as error:
            assert str(path) in str(error)


def test_addresses_kept_free_for_an_unknown_page_type_are_shown_by_its_number() -> None:
    assert type_name(Region("dynamic", 0, PAGE, 127 << 8 | 3, added=False)) == "127"
