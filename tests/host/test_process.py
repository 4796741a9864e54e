"""The process with the enclaves: its memory, its threads, its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import enclu
from tests.host.conftest import processes_of
from tests.host.test_ecalls import ADD, LOOP, OCALL, STORE

LOOPING = "import threading; threading.Thread(target=enclave.ecall, args=(3,), daemon=True).start(); os._exit(0)"


def eventually(condition: Callable[[], bool]) -> bool:
    """Whether it comes true in time."""
    end = time.monotonic() + 20
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def test_enclave_memory_reads_as_ones_from_outside(process: enclu.Process, image: Path) -> None:
    enclave = process.load(image)
    cell = enclave.ecall(STORE, 0)
    assert process.memory.read(cell, 8) == b"\xff" * 8
    assert process.memory.read(enclave.tcs[0], 72) == b"\xff" * 72


def test_writes_to_enclave_memory_are_lost(process: enclu.Process, image: Path) -> None:
    enclave = process.load(image)
    cell = enclave.ecall(STORE, 6)
    process.memory.write(cell, bytes(8))
    assert enclave.ecall(7) == 6


def test_a_read_across_the_start_of_an_enclave_has_ones_from_there_on(process: enclu.Process, image: Path) -> None:
    enclave = process.load(image)
    before = enclave.base - 4096
    process.syscall("mmap", before, 4096, 3, 0x32, -1, 0)
    process.memory.write(before + 4090, b"before")
    assert process.memory.read(enclave.base - 6, 8) == b"before\xff\xff"


def test_unmapped_addresses_are_errors(process: enclu.Process) -> None:
    with pytest.raises(enclu.HostError, match="0x1000"):
        process.memory.read(0x1000, 8)
    with pytest.raises(enclu.HostError, match="0x1000"):
        process.memory.write(0x1000, b"x")


@pytest.mark.parametrize(("address", "length"), [(-1, 8), (0, -1), ((1 << 64) - 4, 8)])
def test_what_are_no_addresses_is_an_error(process: enclu.Process, address: int, length: int) -> None:
    with pytest.raises(enclu.HostError):
        process.memory.read(address, length)


def test_strings_end_at_a_zero(process: enclu.Process) -> None:
    with process.memory.temporary(b"text\0more") as address:
        assert process.memory.read_string(address) == b"text"


def test_a_string_without_an_end_is_an_error(process: enclu.Process) -> None:
    with process.memory.temporary(b"x" * 64) as address, pytest.raises(enclu.HostError, match="no string"):
        process.memory.read_string(address, limit=32)


def test_memory_is_zero_and_its_own_when_allocated_again(process: enclu.Process) -> None:
    memory = process.memory
    first = memory.allocate(100)
    memory.write(first, b"\1" * 100)
    memory.free(first)
    blocks = [memory.allocate(100) for _ in range(3)]
    assert all(memory.read(block, 100) == bytes(100) for block in blocks)
    assert len(set(blocks)) == 3
    with pytest.raises(enclu.HostError, match="not allocated"):
        memory.free(blocks[0] + 1)


@pytest.mark.parametrize("align", [1, 64, 4096, 1 << 22])
def test_memory_is_aligned_as_asked(process: enclu.Process, align: int) -> None:
    assert process.memory.allocate(10, align) % align == 0


def test_too_much_memory_is_refused(process: enclu.Process) -> None:
    with pytest.raises(enclu.HostError, match="untrusted memory"):
        process.memory.allocate(1 << 40)


def test_system_calls_fail_as_such(process: enclu.Process) -> None:
    with pytest.raises(OSError, match="close"):
        process.syscall("close", 999)


def test_cpuid_is_the_machines(process: enclu.Process) -> None:
    assert process.cpuid(7)[1] >> 2 & 1, "SGX"
    assert process.cpuid(0x12)[0] & 3 == 3, "SGX1 and SGX2"


def test_the_processor_can_be_intels_on_any_host() -> None:
    with enclu.Machine() as machine, machine.process(cpu="intel") as process:
        assert b"".join(r.to_bytes(4, "little") for r in process.cpuid(0)[1:]) == b"GenuntelineI"


def test_an_unknown_processor_is_refused() -> None:
    with enclu.Machine() as machine, pytest.raises(enclu.HostError, match="no processor is called 'amd': host, intel"):
        machine.process(cpu="amd")


def test_killed_it_is_reported_dead_from_a_call_under_way(process: enclu.Process, image: Path) -> None:
    enclave = process.load(image)
    timer = threading.Timer(0.2, os.kill, (process.pid, signal.SIGKILL))
    timer.start()
    with pytest.raises(enclu.ProcessDied, match="SIGKILL"):
        enclave.ecall(LOOP)
    assert not process.alive
    with pytest.raises(enclu.ProcessDied):
        enclave.ecall(ADD, 1)
    process.close()


def test_closed_in_another_thread_it_ends_a_call_under_way(process: enclu.Process, image: Path) -> None:
    enclave = process.load(image)
    timer = threading.Timer(0.2, process.close)
    timer.start()
    with pytest.raises(enclu.ProcessDied, match="closed"):
        enclave.ecall(LOOP)


def test_closed_from_an_ocall_it_ends_the_call(process: enclu.Process, image: Path) -> None:
    enclave = process.load(image, ocalls=[lambda _: process.close()])
    with pytest.raises(enclu.ProcessDied):
        enclave.ecall(OCALL)


def test_nothing_is_left_of_it(machine: enclu.Machine, image: Path) -> None:
    process = machine.process()
    process.load(image).ecall(ADD, 1)
    pid = process.pid
    supervisor = int(Path(f"/proc/{pid}/status").read_text().split("TracerPid:")[1].split()[0])
    process.close()
    process.close()
    assert eventually(lambda: not processes_of(pid) and not Path(f"/proc/{supervisor}").exists())


def test_the_supervisor_does_not_grow_with_the_number_of_enclaves(process: enclu.Process, image: Path) -> None:
    status = Path(f"/proc/{process.pid}/status").read_text()
    supervisor = Path(f"/proc/{int(status.split('TracerPid:')[1].split()[0])}/status")

    def load(times: int) -> int:
        """Kilobytes of the supervisor's memory afterwards."""
        for n in range(times):
            with process.load(image) as enclave:
                assert enclave.ecall(ADD, n) == n + 1
        return int(supervisor.read_text().split("VmRSS:")[1].split()[0])

    before = load(100)
    assert load(400) - before < 500


def test_a_machine_ends_its_processes(image: Path) -> None:
    with enclu.Machine() as machine:
        processes = [machine.process(design) for design in ("vdso", "signal")]
        assert all(process.load(image).ecall(ADD, 1) == 2 for process in processes)
    assert not any(process.alive for process in processes)


@pytest.mark.parametrize(
    "end", ["os._exit(0)", "os.kill(os.getpid(), 9)", "raise SystemExit", "enclave.ecall(1)", LOOPING]
)
def test_it_does_not_outlive_python(image: Path, end: str) -> None:
    script = f"""
        import os, sys, enclu
        process = enclu.Machine().process()
        enclave = process.load({str(image)!r}, ocalls=[lambda n: os._exit(3)])
        print(process.pid, flush=True)
        {end}
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=60,
                          env=environment)  # fmt: skip
    pid = int(done.stdout)
    assert eventually(lambda: not processes_of(pid)), done.stderr


def test_a_forked_child_of_python_does_not_take_it_along(image: Path) -> None:
    script = f"""
        import os, sys, enclu
        process = enclu.Machine().process()
        enclave = process.load({str(image)!r})
        child = os.fork()
        if not child:
            sys.exit(0)
        print(os.waitpid(child, 0)[1], enclave.ecall(0, 41))
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=60,
                          env=environment)  # fmt: skip
    assert done.stdout.split() == ["0", "42"], done.stderr


def test_a_design_that_there_is_not_is_named_with_those_that_are(machine: enclu.Machine) -> None:
    with pytest.raises(enclu.HostError, match=r"telepathy.*vdso-2018"):
        machine.process("telepathy")


@pytest.mark.parametrize("epc", ["much", "1K", 4097 << 10 | 1])
def test_an_epc_that_cannot_be_is_refused(epc: str | int) -> None:
    with pytest.raises(enclu.HostError):
        enclu.Machine(epc=epc)


def test_an_image_without_sigstruct_is_refused(process: enclu.Process, image: Path, tmp_path: Path) -> None:
    unsigned = tmp_path / "unsigned.elf"
    unsigned.write_bytes(image.read_bytes())
    with pytest.raises(enclu.HostError, match=rf"no SIGSTRUCT: `enclu sign {unsigned} --key key\.pem` makes it"):
        process.load(unsigned)


def test_an_image_that_was_changed_is_refused_by_einit(process: enclu.Process, image: Path, tmp_path: Path) -> None:
    changed = tmp_path / "changed.elf"
    content = bytearray(image.read_bytes())
    at = content.rindex(b"\x0f\x01\xd7")
    content[at - 5] ^= 1
    changed.write_bytes(content)
    signature = image.with_name(image.name + ".sig")
    with pytest.raises(enclu.HostError, match=r"EINIT is refused: it measures to [0-9a-f]{64}, its SIGSTRUCT is for"):
        process.load(changed, sigstruct=signature)
    assert process.load(image).ecall(ADD, 1) == 2


def test_an_entry_that_is_not_the_innermost_cannot_go_on(process: enclu.Process, image: Path) -> None:
    enclave = process.load(image)
    thread = process.thread()
    bad = enclave.base + enclave.size - 4096
    with thread.enter(bad) as outer, thread.enter(bad) as inner:
        with pytest.raises(enclu.HostError, match="another entry"):
            outer.resume()
        inner.close()
        with pytest.raises(enclu.HostError, match="closed"):
            inner.resume()
    assert enclave.ecall(ADD, 1) == 2


def test_a_register_that_a_design_does_not_pass_is_refused(machine: enclu.Machine, image: Path) -> None:
    process = machine.process("vdso-2018")
    enclave = process.load(image)
    with pytest.raises(enclu.HostError, match="rsi"):
        process.thread().enter(enclave.tcs[0], rsi=1)
