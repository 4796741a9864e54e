"""What `enclu run` needs of the host, found out by trying it."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import resource
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from enclu.base.abi import AT_SYSINFO_EHDR
from enclu.native import cpuid, in_process, limits, machine_code, proc
from enclu.native.dumpable import CAP_SYS_PTRACE, capable
from enclu.run import host_memory, surroundings

ARCH_SET_CPUID = 0x1012
SYS_ARCH_PRCTL = 158
YAMA = Path("/proc/sys/kernel/yama/ptrace_scope")
SECCOMP_ACTIONS = Path("/proc/sys/kernel/seccomp/actions_avail")
OLDEST_LINUX = (4, 17)
"""MAP_FIXED_NOREPLACE, the youngest thing that is needed."""
ENOUGH_MEMORY = 512 << 20
TRIAL_SECONDS = 60
ENDLESS_SECONDS = 0.5
"""Of processor time."""
EENTER = bytes.fromhex("488d1df9ffffff 4881e300f0ffff 488d0d00000000 b802000000 0f01d7 c3")
"""lea rbx, [start]; and rbx, -4096; lea rcx, [next]; mov eax, 2; ENCLU; ret"""


@dataclass(frozen=True)
class Finding:
    """One answer: True is good, False stops enclu, None is worth knowing."""

    name: str
    good: bool | None
    text: str
    repair: str = ""


def findings(enclu: Sequence[str]) -> Iterator[Finding]:
    """Every check in order; `enclu` is the command by which to call enclu itself."""
    if platform.machine() != "x86_64" or platform.system() != "Linux":
        yield Finding("host", False, f"{platform.system()} on {platform.machine()}", "enclu needs x86-64 Linux.")
        return
    yield kernel(platform.release())
    own_proc = proc_file_system()
    yield own_proc
    yield yama(YAMA)
    yield seccomp(SECCOMP_ACTIONS)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.getauxval.restype = ctypes.c_ulong
    vdso = bool(libc.getauxval(AT_SYSINFO_EHDR))
    yield Finding("vDSO", vdso, "the kernel gives programs one" if vdso else "the kernel gives programs none",
                  "" if vdso else "Boot the kernel without vdso=0.")  # fmt: skip
    denials = surroundings.try_each()
    calls = system_calls(denials)
    yield calls
    yield threads(denials)
    if own_proc.good and calls.good:
        yield trial(enclu)
    else:
        yield Finding("trial run", None, "not tried: it would fail for what is said above")
    fsgsbase = in_process.fsgsbase()
    yield Finding("FSGSBASE", True if fsgsbase else None,
                  "user mode may use WRFSBASE" if fsgsbase else "enclaves that use WRFSBASE get #UD",
                  "" if fsgsbase else "Linux 5.9 or newer, booted without nofsgsbase, has it.")  # fmt: skip
    yield transitions()
    faulting = libc.syscall(SYS_ARCH_PRCTL, ARCH_SET_CPUID, 1) == 0
    yield Finding("CPUID faulting", True if faulting else None,
                  "the host can make CPUID fault" if faulting else
                  "not available: CPUID in programs is patched where it can be told from data",
                  "" if faulting else "Nothing to repair: the processor or its hypervisor decides.")  # fmt: skip
    yield real_sgx()
    yield enclu_instruction()
    yield memory()
    yield processors()
    yield descriptors()
    yield file_size()


def kernel(release: str) -> Finding:
    """Whether the kernel has the system calls."""
    found = re.match(r"(\d+)\.(\d+)", release)
    if found is None:
        return Finding("kernel", None, f"Linux {release}, of unknown age")
    if (int(found[1]), int(found[2])) >= OLDEST_LINUX:
        return Finding("kernel", True, f"Linux {release}")
    return Finding("kernel", False, f"Linux {release} is too old", "enclu needs Linux 4.17 or newer.")


def proc_file_system() -> Finding:
    """Whether /proc is there, and of this PID namespace."""
    try:
        proc.check()
    except proc.ProcUnusable as error:
        return Finding("/proc", False, error.reason, error.repair)
    return Finding("/proc", True, "mounted")


def yama(path: Path) -> Finding:
    """Kernel: Documentation/admin-guide/LSM/Yama.rst."""
    try:
        scope = int(path.read_text())
    except OSError:
        return Finding("yama", True, "not in this kernel: programs may be traced")
    if scope <= 1 or (scope == 2 and capable(CAP_SYS_PTRACE)):
        return Finding("yama", True, f"ptrace_scope {scope}: programs may be traced that allow it, as enclu does")
    if scope == 2:
        return Finding("yama", False, "ptrace_scope 2: only administrators may trace",
                       f"echo 1 | sudo tee {YAMA}, or run enclu with CAP_SYS_PTRACE.")  # fmt: skip
    return Finding("yama", False, f"ptrace_scope {scope}: nobody may trace, until the next boot",
                   "Set kernel.yama.ptrace_scope = 1 in /etc/sysctl.d and reboot.")  # fmt: skip


def seccomp(actions: Path) -> Finding:
    """Whether the kernel can stop a program at system calls of our choice."""
    try:
        available = actions.read_text().split()
    except OSError:
        return Finding("seccomp", None, f"unknown: {actions} cannot be read")
    if "trace" in available:
        return Finding("seccomp", True, "the kernel has filters that call the tracer")
    return Finding("seccomp", False, "the kernel has no filters that call the tracer",
                   "Use a kernel with CONFIG_SECCOMP_FILTER.")  # fmt: skip


def system_calls(denials: Sequence[surroundings.Denial]) -> Finding:
    """Whether a seccomp filter around enclu leaves it what it needs."""
    fatal = [denial for denial in denials if denial.fatal]
    if fatal:
        return Finding("system calls", False, surroundings.refusal(fatal), surroundings.ALLOW)
    return Finding("system calls", True, "none that enclu needs is denied")


def threads(denials: Sequence[surroundings.Denial]) -> Finding:
    """Whether C libraries can create threads."""
    for denial in denials:
        if not denial.fatal:
            return Finding("threads", None, *surroundings.thread_note(denial))
    return Finding("threads", True, "can be created")


def trial(enclu: Sequence[str]) -> Finding:
    """Run something: what containers and service managers forbid shows only then."""
    true = shutil.which("true")
    if true is None:
        return Finding("trial run", None, "not tried: there is no `true` in PATH")
    try:
        done = subprocess.run([*enclu, "run", true], capture_output=True, text=True, timeout=TRIAL_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return Finding("trial run", False, f"`enclu run true` did not end within {TRIAL_SECONDS} seconds",
                       "Please report it, with the output of `ENCLU_DEBUG=1 enclu run true`.")  # fmt: skip
    if done.returncode == 0:
        return Finding("trial run", True, "a program can be traced, filtered and run")
    said = " ".join(done.stderr.split()) or f"`enclu run true` ended with status {done.returncode}"
    return Finding("trial run", False, said.removeprefix("enclu: "),
                   "In a container: docker run --cap-add=SYS_PTRACE --security-opt seccomp=unconfined")  # fmt: skip


def real_sgx() -> Finding:
    """SGX of the host, which enclu never uses."""
    sgx = cpuid.host(7, 0)[1] >> 2 & 1 if cpuid.host(0, 0)[0] >= 7 else 0
    device = os.path.exists("/dev/sgx_enclave")
    if not sgx and not device:
        return Finding("real SGX", None, "none: the machine is all software")
    return Finding("real SGX", None, f"processor {'yes' if sgx else 'no'}, device {'yes' if device else 'no'}; "
                   "enclu does not use it")  # fmt: skip


def enclu_instruction(code: bytes = EENTER) -> Finding:
    """What the host processor makes of ENCLU, which must stop the program, in any way.

    Where SGX is enabled, though nobody may offer it, EENTER of a page that is none of the EPC's is a page fault with
    the SGX bit.  A kernel without access_error()'s look at that bit (arch/x86/mm/fault.c) lets the program try again.
    """
    child = os.fork()
    if child == 0:
        for signo in (signal.SIGILL, signal.SIGSEGV, signal.SIGBUS, signal.SIGPROF):
            signal.signal(signo, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.setitimer(signal.ITIMER_PROF, ENDLESS_SECONDS)
        machine_code.function(code, None)()
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    ended_by = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    if ended_by == signal.SIGILL:
        return Finding("ENCLU", True, "the processor does not know it (#UD)")
    if ended_by in (signal.SIGSEGV, signal.SIGBUS):
        return Finding("ENCLU", True, "the processor begins it: SGX is enabled beneath; enclu takes its fault for #UD")
    return Finding("ENCLU", False, "the processor executes it, and no fault of it is told" if ended_by == 0 else
                   "the processor faults in it for ever: this kernel does not know faults of SGX",
                   "Use Linux 5.11 or newer, or switch SGX off in the firmware.")  # fmt: skip


def transitions() -> Finding:
    """Whether enclaves can be entered and left without a stop; tried on a process made for that."""
    obstacle = in_process.obstacle()
    if not obstacle:
        return Finding("transitions", True, "EENTER, ERESUME and EEXIT need not stop the program")
    return Finding("transitions", None, f"each stops the program, and takes hundreds of times as long: {obstacle}",
                   "Linux 6.4 or newer, with FSGSBASE, has what it takes.")  # fmt: skip


def memory() -> Finding:
    """What is free, in the machine and in our control group."""
    free, limit = host_memory.free(), host_memory.group_limit()
    text = f"{free >> 20:,} MiB free"
    if limit is not None and limit < free:
        free, text = limit, f"{limit >> 20:,} MiB allowed to this control group"
    text += f"; an EPC has {host_memory.default_epc() >> 20:,} MiB unless --epc says otherwise"
    if free >= ENOUGH_MEMORY:
        return Finding("memory", True, text)
    return Finding("memory", None, text, "Enclaves live in memory, however small the EPC: give the machine more.")


def processors() -> Finding:
    """Whether a busy thread can be brought to the supervisor's processor."""
    allowed = os.sched_getaffinity(0)
    if len(allowed) == 1:
        return Finding("processors", True, "one: nothing to pin")
    try:
        os.sched_setaffinity(0, {min(allowed)})
        os.sched_setaffinity(0, allowed)
    except OSError as error:
        return Finding("processors", None, f"{len(allowed)}, but threads cannot be pinned ({error.strerror}): slower",
                       "Allow sched_setaffinity(2), or use taskset to give enclu one processor.")  # fmt: skip
    return Finding("processors", True, f"{len(allowed)}; busy enclave threads can be pinned beside the supervisor")


def descriptors() -> Finding:
    """The supervisor needs one for each process and each enclave."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard == resource.RLIM_INFINITY or hard >= 256:
        return Finding("open files", True, f"up to {'any number' if hard == resource.RLIM_INFINITY else f'{hard:,}'}")
    return Finding("open files", None, f"at most {hard}: few processes can run at once", "Raise `ulimit -Hn`.")


def file_size() -> Finding:
    """Enclaves live in files without a name, which the supervisor makes."""
    limit = limits.file_size_of_supervisor()
    if limit is None:
        return Finding("file size", True, "enclaves may be as large as they like")
    return Finding("file size", None, f"files of at most {limit:,} bytes, and so enclaves", limits.RAISE_FILE_SIZE)
