"""C programs, one behaviour each, under the delivery designs that they are meant for."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from enclu.linux import delivery
from tests.run.conftest import EncluRun, Passes
from tests.support.runs import HANGS

ANY = tuple(delivery.names())
"""Every design."""
DRIVER = ("vdso",)
"""For what no design has a say in."""
# program -> designs that it is meant for
PROGRAMS: dict[str, tuple[str, ...]] = {
    "abort_page": ANY,
    "aex_interrupt": ANY,
    "aex_notify": ANY,
    "added_singly": DRIVER,
    "advice": DRIVER,
    "affinity_kept": DRIVER,
    "auxv_file": ANY,
    "avx_by_xfrm": ANY,
    "bad_eenter": ANY,
    "bad_stack": ANY,
    "clear_sighand": ANY,
    "clone_untraced": DRIVER,
    "clone_without_vm": ANY,
    "codes_asked": ("vdso", "mm-handler"),
    "cpuid_bytes": ANY,
    "cpuid_patched": DRIVER,
    "debug_access": ANY,
    "debug_optin": ANY,
    "descriptor_exec": ANY,
    "descriptor_in_flight": DRIVER,
    "descriptor_passed": ANY,
    "descriptors": DRIVER,
    "device_file": DRIVER,
    "device_node": DRIVER,
    "device_paths": DRIVER,
    "dynamic_tcs": ANY,
    "eacceptcopy": ANY,
    "edeccssa": ANY,
    "edmm": ANY,
    "elrange": ("vdso", "signal"),
    "elrange_memory": ANY,
    "emodpe_errors": ANY,
    "epc_exhausted": DRIVER,
    "evict_across_processes": ANY,
    "exception_vectors": ANY,
    "exec_from_thread": ANY,
    "exinfo": ANY,
    "exits_shared": ANY,
    "extended_state": ("vdso", "signal"),
    "faults_everywhere": DRIVER,
    "features": DRIVER,
    "executed_read_only": ANY,
    "fetch_outside": ANY,
    "first_thread_ends": ("vdso",),
    "first_touch_code": ANY,
    "fork_child": ANY,
    "fork_inside": ANY,
    "handled_while_blocked_elsewhere": ANY,
    "handler_faults": ANY,
    "handler_in_a_wait": ANY,
    "handler_mask": ANY,
    "hostile_operands": ANY,
    "ignored_signals": ("vdso", "signal"),
    "illegal_instructions": ANY,
    "ioctl_concurrent": DRIVER,
    "ioctl_errors": ANY,
    "ioctl_numbers": DRIVER,
    "ioctl_progress": DRIVER,
    "ioctl_ranges": DRIVER,
    "ioctl_wild_pointers": DRIVER,
    "local_attestation": ANY,
    "longjmp_out": ANY,
    "many_opens": DRIVER,
    "mask_sync_signals": ("signal", "vdso"),
    "memory_bounds": ("vdso", "signal"),
    "mm_handler": ("mm-handler",),
    "mm_handler_inherited": ("mm-handler",),
    "mmap_rules": DRIVER,
    "mxcsr": ANY,
    "nested_handler": ANY,
    "no_memory_for_devices": DRIVER,
    "noexec_source": DRIVER,
    "notified": ANY,
    "open_during_vfork": ("vdso",),
    "open_mode": DRIVER,
    "ordinary_signals": DRIVER,
    "outside_reads_enclave": DRIVER,
    "oversubscribe": ("vdso",),
    "oversubscribe_threads": ANY,
    "one_descriptor": DRIVER,
    "own_memory": DRIVER,
    "own_seccomp": ANY,
    "own_sigsegv": ANY,
    "page_fault_codes": ANY,
    "pages_raced": ANY,
    "path_calls": ("vdso",),
    "power_event": ANY,
    "power_event_busy": ANY,
    "proc_mem": DRIVER,
    "provision": DRIVER,
    "pushf_alone": ANY,
    "range_handler": ("range-handler",),
    "range_handler_brk": ("range-handler",),
    "replaced": DRIVER,
    "report_key": ANY,
    "run_reserved": ("vdso",),
    "runs_inside": ANY,
    "seal": DRIVER,
    "selectors": ANY,
    "sent_while_blocked": ANY,
    "signal_fault": ANY,
    "signal_frame": ANY,
    "signal_storm": ANY,
    "sigstop_cont": ANY,
    "sigsys_kept": ANY,
    "single_step": ANY,
    "sites_raced": ANY,
    "ssa_protected_inside": ANY,
    "stack_fault_signal": ANY,
    "ssa_removed_inside": ANY,
    "state_aside": ANY,
    "state_kept": ANY,
    "syscall_registers": ANY,
    "tcs_trimmed_inside": ANY,
    "tcs_unmapped_inside": ANY,
    "text_kept": ANY,
    "thread_gone": ANY,
    "thread_handler": ("thread-handler",),
    "threads": ANY,
    "threads_fault": ANY,
    "undefined_leaves": ANY,
    "undumpable": DRIVER,
    "unmapped_inside": ANY,
    "uring_open": DRIVER,
    "user_dispatch": DRIVER,
    "vdso_2018": ("vdso-2018",),
    "vdso_jmp": ("vdso-jmp",),
    "vdso_jmp_patching": ("vdso-jmp",),
    "vdso_jmp_undisturbed": ("vdso-jmp",),
    "vfork_spawn_exec": ANY,
    "wild_aep": ANY,
    "xcr0_not_narrowed": ANY,
    "xsave_by_xfrm": ANY,
}
CHILDREN = [
    "that exits",
    "that is killed",
    "that is ended by a signal",
    "that is ended by a thread",
    "that is ended by the first of its threads",
    "that is ended by all its threads at once",
    "that goes on when its first thread has ended",
    "that is killed with its threads",
    "that is killed when its first thread has ended",
    "that is killed while stopped",
    "that aborts",
    "that calls exec in a thread",
    "that calls exec in the first of its threads",
    "that calls exec in all its threads at once",
    "that calls exec while its first thread ends",
    "that calls exec when its first thread has ended",
    "that is killed while entering an enclave",
    "that is killed in an enclave",
    "that is ended while a thread is in an enclave",
    "that calls exec while a thread is in an enclave",
    "that is spawned",
    "of a parent that ignores SIGCHLD",
    "of a parent that has set SA_NOCLDWAIT",
]
"""Ways to end that tests/c/programs/pidfd_wait.c knows."""
OPTIONS = {
    "epc_exhausted": ("--epc", "1M"),
    "one_descriptor": ("--epc", "1M"),
    "evict_across_processes": ("--epc", "1M"),
    "oversubscribe": ("--epc", "4M"),
    "oversubscribe_threads": ("--epc", "2M"),
    "own_seccomp": ("--epc", "2M"),
    "pages_raced": ("--epc", "2M"),
}


@pytest.mark.parametrize(
    ("name", "design"), [(name, design) for name, designs in PROGRAMS.items() for design in designs]
)
def test_program(name: str, design: str, passes: Passes) -> None:
    # Quiet: children tell their parents by failing statuses what was refused.
    assert passes(name, options=("--quiet", "--delivery", design, *OPTIONS.get(name, ()))).stderr == ""


@pytest.mark.parametrize("options", [(), ("--no-pin",)])
def test_busy_threads_are_pinned_unless_told_otherwise(options: tuple[str, ...], passes: Passes) -> None:
    passes("affinity", *options, options=("--no-fast-path", *options))


@pytest.mark.parametrize(
    "name", ["clear_sighand", "clone_untraced", "device_paths", "ignored_signals", "sent_while_blocked"]
)
def test_natively_too(name: str, program: Callable[[str], Path]) -> None:
    """What the programs expect is what the kernel does."""
    done = subprocess.run([program(name), "native"], capture_output=True, text=True, timeout=HANGS, check=False)
    assert (done.returncode, "not ok" in done.stdout) == (0, False), done.stdout


@pytest.mark.parametrize("design", (*DRIVER, "signal"))
@pytest.mark.parametrize("disturbance", ["open", "evict", "elsewhere"])
def test_calls_that_wait_are_not_interrupted(disturbance: str, design: str, passes: Passes) -> None:
    passes("waits_undisturbed", disturbance, options=("--delivery", design, "--epc", "1M"))


def test_calls_that_wait_end_by_themselves_natively(program: Callable[[str], Path]) -> None:
    done = subprocess.run(
        [program("waits_undisturbed"), "open", "native"], capture_output=True, text=True, timeout=HANGS, check=False
    )
    assert (done.returncode, "not ok" in done.stdout) == (0, False), done.stdout


@pytest.mark.parametrize("how", ["unwritable", "garbage"])
def test_a_thread_without_its_restartable_sequences_is_ended_by_sigsegv(
    how: str, program: Callable[[str], Path], enclu_run: EncluRun
) -> None:
    environment = {"GLIBC_TUNABLES": "glibc.pthread.rseq=0"}
    command = (program("rseq_gone"), how)
    native = subprocess.run(command, env={**os.environ, **environment}, timeout=HANGS, check=False)
    done = enclu_run(*command, env=environment, options=("--quiet",))
    assert (native.returncode, done.returncode, done.stderr) == (-signal.SIGSEGV, -signal.SIGSEGV, "")


@pytest.mark.parametrize("pending", ["", "pending"])
@pytest.mark.parametrize("signo", [signal.SIGILL, signal.SIGTRAP, signal.SIGFPE, signal.SIGSEGV], ids=lambda s: s.name)
def test_an_exception_whose_signal_is_blocked_kills(
    signo: signal.Signals,
    pending: str,
    program: Callable[[str], Path],
    enclu_run: EncluRun,
    enclave_environment: dict[str, str],
) -> None:
    command = (program("dies_blocked"), str(int(signo)))
    assert subprocess.run([*command, "native", pending], timeout=HANGS, check=False).returncode == -signo
    assert enclu_run(*command, "enclave", pending, env=enclave_environment).returncode == -signo


@pytest.mark.parametrize("design", ANY)
@pytest.mark.parametrize("seed", ["1", "2000"])
def test_random_calls_harm_nobody_else(seed: str, design: str, passes: Passes) -> None:
    assert passes("random_calls", seed, options=("--quiet", "--delivery", design)).stderr == ""


@pytest.mark.parametrize("child", CHILDREN)
def test_what_a_pidfd_tells_of_can_be_waited_for(child: str, passes: Passes) -> None:
    rounds = 20 if "enclave" in child else 200
    passes("pidfd_wait", str(rounds), child)


@pytest.mark.parametrize("design", ANY)
def test_a_program_steps_through_its_enclaves(design: str, passes: Passes) -> None:
    passes("stepping", options=("--quiet", "--stepping", "--delivery", design))


@pytest.mark.parametrize(
    "name",
    ["edmm", "exception_vectors", "fork_inside", "illegal_instructions", "notified", "signal_storm",
     "state_kept", "threads", "threads_fault", "undefined_leaves", "xcr0_not_narrowed"],
)  # fmt: skip
def test_a_program_that_plans_nothing_runs_as_without_stepping(name: str, passes: Passes) -> None:
    options = ("--quiet", "--stepping", "--delivery", PROGRAMS[name][0], *OPTIONS.get(name, ()))
    passes(name, options=options)


def test_a_program_does_not_step_unless_its_run_is_for_that(passes: Passes) -> None:
    passes("stepping", "none", options=("--quiet",))


def test_xsave_goes_by_xfrm_on_pages_that_are_evicted_in_between(passes: Passes) -> None:
    passes("xsave_by_xfrm", options=("--epc", "1M"))


@pytest.mark.parametrize("policy", ["overwrite", "write-once", "unregister-first"])
def test_mm_handler_policies(policy: str, passes: Passes) -> None:
    passes("mm_handler_policies", policy, options=("--delivery", f"mm-handler:{policy}"))


@pytest.mark.parametrize("design", ANY)
@pytest.mark.parametrize("name", ["death_inside", "exec_while_inside"])
def test_the_epc_of_those_inside_is_free_when_they_are_gone(name: str, design: str, passes: Passes) -> None:
    done = passes(name, options=("--delivery", design, "--epc", "1M", "--stats=json"))
    assert json.loads(done.stderr)["evictions"] == 0


@pytest.mark.parametrize(
    ("command", "status"), [("exit 0", 0), ("exit 7", 7), ("exit 255", 255), ("kill -TERM $$", -15), ("kill -9 $$", -9)]
)
def test_the_exit_status_is_the_programs(enclu_run: EncluRun, command: str, status: int) -> None:
    assert enclu_run("/bin/sh", "-c", command).returncode == status


def test_standard_input_and_output_are_the_programs(enclu_run: EncluRun) -> None:
    done = enclu_run("/bin/cat", stdin="one\ntwo\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, "one\ntwo\n", "")


@pytest.mark.parametrize("design", ["vdso", "signal"])
def test_at_the_limit_of_mappings_there_is_an_exception_and_a_line(design: str, passes: Passes) -> None:
    (line,) = passes("map_limit", options=("--delivery", design)).stderr.splitlines()
    assert line.startswith("enclu: ") and "sysctl -w vm.max_map_count" in line


def test_what_is_not_answered_by_int80_or_of_x32_is_refused_with_a_line_each(passes: Passes) -> None:
    refused = ("ipc(2)", "rt_sigaction(2)", "signal(2)", "rt_sigsuspend(2)", "x32", "clone3(2)")
    lines = passes("int80_calls").stderr.splitlines()
    assert len(lines) == len(refused)
    for line, call in zip(lines, refused, strict=True):
        assert line.startswith("enclu: process ") and call in line and "ENOSYS" in line


@pytest.mark.skipif(not Path("/sys/devices/system/node/node0").is_dir(), reason="the host kernel tells of no nodes")
def test_sysfs_tells_how_much_epc_there_is(passes: Passes) -> None:
    done = passes("node_bytes", str(32 << 20), options=("--epc", "32M"))
    assert "asks for /dev/sgx_vepc" in done.stderr


def test_newer_microcode_raises_cpusvn_when_the_device_is_opened(passes: Passes) -> None:
    passes("cpusvn", "1")
    passes("cpusvn", "2", options=("--svn-update", "newer"))


@pytest.mark.parametrize(
    ("found", "error"), [("no-entropy", "Resource temporarily unavailable"), ("fails", "Input/output error")]
)
def test_the_device_is_not_opened_where_cpusvn_cannot_be_updated(found: str, error: str, enclu_run: EncluRun) -> None:
    script = "import os\nos.open('/dev/sgx_provision', os.O_RDWR)\nos.open('/dev/sgx_enclave', os.O_RDWR)"
    done = enclu_run(Path(sys.executable), "-c", script, options=("--svn-update", found))
    assert error in done.stderr and "sgx_enclave" in done.stderr
    assert "cannot use SGX: EUPDATESVN: SGX_" in done.stderr
