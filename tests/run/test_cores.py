"""Cores of `enclu run --core-dir` and `enclu core`, as gdb, pyelftools and the kernel have them."""

from __future__ import annotations

import errno
import os
import re
import resource
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from enclu.native import proc
from tests.run.conftest import C_SOURCES, EncluRun, compile_c
from tests.support.cores import PRPSINFO, PRSTATUS, SIGINFO, Core, gdb, registers
from tests.support.observed import counters_of
from tests.support.runs import HANGS, RUN, enclu, environment, run, sh, status, supervisor_of, wait_until

Built = Callable[[str], Path]
BODY = C_SOURCES / "enclaves" / "body.c"
needs_gdb = pytest.mark.skipif(shutil.which("gdb") is None, reason="gdb is not installed")
LAYOUT, ENDING = 0x205, 0x600
"""NT_X86_XSAVE_LAYOUT; PF_SIGNALED and PF_DUMPCORE."""
HEAP_WORD = bytes.fromhex("8877665544332211")
"""What `crashes` writes to the enclave's heap."""


def line_in(source: Path, text: str, behind: int = 0) -> str:
    """file:LINE of the only line with this text, or so many lines behind it."""
    (found,) = [n for n, line in enumerate(source.read_text().splitlines(), 1) if text in line]
    return f"{source.name}:{found + behind}"


UD2 = line_in(BODY, "case OP_UD2:", behind=1)


class Crash:
    """A run of `crashes` that has ended, with its cores."""

    def __init__(self, done: subprocess.CompletedProcess[str], directory: Path, program: Path, enclave: Path) -> None:
        self.done, self.program, self.enclave = done, program, enclave
        self.paths = sorted(directory.iterdir())

    @property
    def path(self) -> Path:
        (path,) = self.paths
        return path

    @property
    def core(self) -> Core:
        return Core(self.path)

    def gdb(self, *commands: str) -> str:
        """With the symbols of the enclave, if there is one."""
        lines = enclu("core", "--inspect", "--gdb", "--image", self.enclave, self.path).stdout
        return gdb(self.program, self.path, *commands, first=[line for line in lines.splitlines() if line[0] != "#"])


@pytest.fixture
def crash(
    program: Built, enclu_run: EncluRun, enclave_environment: dict[str, str], tmp_path: Path
) -> Callable[..., Crash]:
    def ends(*how: str, options: tuple[str, ...] = ()) -> Crash:
        built = program("crashes")
        cores = tmp_path / "cores"
        options = ("--core-dir", str(cores), *options)
        done = enclu_run(built, *how, options=options, env=enclave_environment)
        return Crash(done, cores, built, Path(enclave_environment["ENCLU_TEST_ENCLAVE"]))

    return ends


# What a host thread's crash leaves.


@needs_gdb
def test_gdb_shows_where_a_host_thread_has_crashed(crash: Callable[..., Crash]) -> None:
    crashed = crash("host")
    assert crashed.done.returncode == -signal.SIGSEGV
    said = gdb(crashed.program, crashed.path, "bt", "print known", "print $_siginfo._sifields._sigfault.si_addr")
    source = C_SOURCES / "programs" / "crashes.c"
    assert "Program terminated with signal SIGSEGV" in said
    assert re.search(rf"#0 .*host_crash .*{line_in(source, '*where = known;')}\n#1 .* in main ", said)
    assert "$1 = 4711\n" in said and "(void *) 0x1230" in said


@needs_gdb
def test_gdb_shows_the_other_threads_too(crash: Callable[..., Crash]) -> None:
    crashed = crash("host")
    said = gdb(crashed.program, crashed.path, "thread apply all bt")
    assert re.search(r"Thread 2 .*\n((?!Thread).*\n)*#\d+ .*waits ", said)  # gdb's warnings come in between


def test_the_core_is_the_users_alone_and_told_of_in_one_line(crash: Callable[..., Crash]) -> None:
    crashed = crash("abort")
    assert crashed.path.stat().st_mode & 0o7777 == 0o600 and crashed.path.parent.stat().st_mode & 0o7777 == 0o700
    pid = crashed.core.all(PRPSINFO)[0].word(24, 4)
    assert crashed.path.name == f"core.crashes.{pid}"
    assert crashed.done.stderr == f"enclu: process {pid}, SIGABRT: core in {crashed.path}\n"


@pytest.fixture
def kernels(program: Built, tmp_path: Path) -> Core:
    """What the kernel writes of `crashes host`, without enclu."""
    if Path("/proc/sys/kernel/core_pattern").read_text() != "core\n":
        pytest.skip("the kernel does not write cores where the program runs")
    if resource.getrlimit(resource.RLIMIT_CORE)[1] != resource.RLIM_INFINITY:
        pytest.skip("no cores may be written")
    where = tmp_path / "kernels"
    where.mkdir()
    script = f"ulimit -c unlimited; cd {where}; exec {program('crashes')} host"
    subprocess.run(["/bin/sh", "-c", script], check=False, timeout=HANGS)
    (path,) = where.glob("core*")
    return Core(path)


def test_a_core_says_what_the_kernels_core_of_the_same_crash_says(crash: Callable[..., Crash], kernels: Core) -> None:
    ours = crash("host").core
    assert [(note.owner, note.kind, len(note.content)) for note in ours.notes[:-1]] == [
        (note.owner, note.kind, len(note.content)) for note in kernels.notes
    ]
    assert ours.all(SIGINFO) == kernels.all(SIGINFO) and ours.all(LAYOUT, "LINUX") == kernels.all(LAYOUT, "LINUX")
    mine, theirs = (registers(core.all(PRSTATUS)[0]) for core in (ours, kernels))
    for core, values in ((ours, mine), (kernels, theirs)):
        values["rip"] -= min(start for start, _, _, name in core.files if name.endswith("/crashes"))
    same = ("rip", "rax", "rdi", "rdx", "cs", "ss", "orig_rax", "ds", "es", "fs", "gs")
    assert {name: mine[name] for name in same} == {name: theirs[name] for name in same}
    for note, other in zip(ours.all(PRSTATUS), kernels.all(PRSTATUS), strict=True):
        assert (note.content[:32], note.content[328:]) == (other.content[:32], other.content[328:])
    assert ours.all(PRPSINFO)[0].word(8) & ENDING == kernels.all(PRPSINFO)[0].word(8) & ENDING == ENDING


def test_of_a_mapped_file_as_much_is_there_as_in_the_kernels_core(crash: Callable[..., Crash], kernels: Core) -> None:
    def of_files(core: Core) -> list[tuple[str, int, int, int, int]]:
        loads = {load["p_vaddr"]: load for load in core.loads}
        rows = sorted((name, offset, start) for start, _, offset, name in core.files)
        found = [(name, offset, loads[start]) for name, offset, start in rows]
        return [(name, at, load["p_memsz"], load["p_filesz"], load["p_flags"]) for name, at, load in found]

    assert of_files(crash("host").core) == of_files(kernels)


def test_pyelftools_reads_the_notes(crash: Callable[..., Crash]) -> None:
    core = crash("host").core
    assert core.parsed.count("NT_PRSTATUS") == 2 and {"NT_PRPSINFO", "NT_SIGINFO", "NT_AUXV", "NT_FILE"} <= {
        *core.parsed
    }


def test_text_that_the_machine_has_changed_is_as_it_was(crash: Callable[..., Crash]) -> None:
    core = crash("line").core
    found = 0
    for start, _, offset, name in core.files:
        load = next(load for load in core.loads if load["p_vaddr"] == start)
        if load["p_flags"] & 1 and not name.startswith("/dev/"):
            assert load["p_filesz"] in (0, 4096), name
            if load["p_filesz"]:
                assert core.read(start, 4096) == os.pread(os.open(name, os.O_RDONLY), 4096, offset * 4096)
            found += 1
    assert found > 2


def test_the_auxiliary_vector_leads_to_the_machines_vdso(crash: Callable[..., Crash]) -> None:
    core = crash("abort").core
    auxv = core.all(6)[0]
    values = {auxv.word(at): auxv.word(at + 8) for at in range(0, len(auxv.content), 16)}
    image = core.read(values[33], 4096)
    assert image is not None and image.startswith(b"\x7fELF") and list(values)[-1] == 0


# What happens in enclaves.


@needs_gdb
def test_gdb_shows_the_line_of_an_enclaves_crash(crash: Callable[..., Crash]) -> None:
    crashed = crash("line")
    assert crashed.done.returncode == -signal.SIGSEGV
    said = crashed.gdb("bt")
    where = line_in(BODY, "*(volatile uint64_t *)request->a = request->b;")
    assert re.search(rf"\n#0 .* in encl_body .*{where}\n#1 .* in enter_body \(\) ", said), said


def test_registers_of_an_interrupted_thread_are_those_of_its_ssa_frame(crash: Callable[..., Crash]) -> None:
    crashed = crash("enclave")
    first = crashed.core.all(PRSTATUS)[0]
    values = registers(first)
    order = ("rax", "rcx", "rdx", "rbx", None, "rbp", None, "rdi", *(f"r{n}" for n in range(8, 16)))
    assert {name: values[name] for name in order if name} == {n: 0x1000 + i for i, n in enumerate(order) if n}
    assert first.word(12, 2) == signal.SIGILL
    xstate = crashed.core.all(0x202, "LINUX")[0].content
    xmm = [int.from_bytes(xstate[160 + 16 * n : 168 + 16 * n], "little") for n in range(16)]
    assert xmm == [0x1000 + n for n in range(16)]
    told = crashed.core.about["threads"][0]
    assert told["state"] == "at the AEP" and told["ssa"] == 0
    aep = bytes.fromhex(told["host_registers"])
    assert int.from_bytes(aep[128:136], "little") == told["aep"] and int.from_bytes(aep[80:88], "little") == 3


@needs_gdb
def test_a_thread_inside_is_shown_where_it_is(crash: Callable[..., Crash]) -> None:
    said = crash("enclave").gdb("info threads")
    assert re.search(r"\* 1 .*encl_state \(\)", said) and re.search(r"  2 .* in encl_body .*body\.c", said), said


@needs_gdb
def test_what_a_runtime_has_not_resumed_is_a_thread_of_its_own(crash: Callable[..., Crash]) -> None:
    crashed = crash("handled")
    assert crashed.done.returncode == -signal.SIGABRT
    said = crashed.gdb("info threads", "bt")
    assert re.search(r"#\d+ .* in main ", said)
    assert re.search(rf"LWP 4194304.* encl_body .*{UD2}", said), said


def test_the_note_tells_of_exception_enclave_tcs_and_frame(crash: Callable[..., Crash]) -> None:
    about = crash("line").core.about
    assert about["version"] == 1
    assert (about["exception"]["vector"], about["exception"]["error_code"], about["exception"]["address"]) == (
        14,
        6,
        0x1000,
    )
    assert "nothing is mapped" in about["exception"]["reason"]
    (enclave,) = about["enclaves"]
    assert enclave["debug"] and enclave["included"] and enclave["initialised"] and enclave["attributes"] & 2
    assert len(enclave["mrenclave"]) == 64 and enclave["mrenclave"] != "0" * 64
    (thread,) = about["threads"]
    assert thread["tcs"] == enclave["base"] and thread["eid"] == enclave["eid"]
    assert int.from_bytes(bytes.fromhex(thread["gprsgx"])[136:144], "little") - enclave["base"] < enclave["size"]
    assert thread["exception"]["vector"] == 14


def test_an_exception_that_the_host_was_told_of_is_in_the_note(crash: Callable[..., Crash]) -> None:
    about = crash("handled").core.about
    assert about["exception"] == {}
    (interrupted,) = [thread for thread in about["threads"] if thread["state"] == "interrupted"]
    assert interrupted["exception"]["vector"] == 6


def heap_of(core: Core) -> bytes | None:
    """The word that `crashes` has written."""
    (enclave,) = core.about["enclaves"]
    for load in core.loads:
        if enclave["base"] <= load["p_vaddr"] < enclave["base"] + enclave["size"] and load["p_filesz"]:
            with core.path.open("rb") as file:
                file.seek(load["p_offset"])
                if HEAP_WORD in file.read(load["p_filesz"]):
                    return HEAP_WORD
    return None


def test_pages_of_debug_enclaves_are_in_the_core(crash: Callable[..., Crash]) -> None:
    assert heap_of(crash("line").core) == HEAP_WORD


def test_evicted_pages_are_in_the_core_and_stay_evicted(crash: Callable[..., Crash]) -> None:
    with_core = crash("line", options=("--epc", "1M", "--stats"))
    assert heap_of(with_core.core) == HEAP_WORD
    told = re.findall(r"(?:reloads|evictions) +([\d,]+)", with_core.done.stderr)
    assert int(told[0].replace(",", "")) > 0
    without = crash("line", options=("--epc", "1M", "--stats", "--core-enclaves", "none"))
    assert told == re.findall(r"(?:reloads|evictions) +([\d,]+)", without.done.stderr)


def test_of_production_enclaves_there_is_nothing(crash: Callable[..., Crash]) -> None:
    crashed = crash("line", "production")
    assert heap_of(crashed.core) is None
    (enclave,), (thread,) = crashed.core.about["enclaves"], crashed.core.about["threads"]
    assert not enclave["included"] and "tcs" not in thread and "gprsgx" not in thread
    values = registers(crashed.core.all(PRSTATUS)[0])
    assert (values["rax"], values["rbx"]) == (3, enclave["base"])  # what everybody sees at the AEP


def test_of_production_enclaves_there_is_everything_if_that_is_asked_for(crash: Callable[..., Crash]) -> None:
    crashed = crash("line", "production", options=("--core-enclaves", "all"))
    assert heap_of(crashed.core) == HEAP_WORD and crashed.core.about["threads"][0]["state"] == "at the AEP"


@pytest.mark.parametrize("how", ["host", "line", "enclave", "handled"])
def test_how_the_program_ends_and_what_is_counted_does_not_depend_on_a_core(
    crash: Callable[..., Crash], program: Built, enclave_environment: dict[str, str], enclu_run: EncluRun, how: str
) -> None:
    without = enclu_run(program("crashes"), how, options=("--stats=json",), env=enclave_environment)
    crashed = crash(how, options=("--stats=json",)).done
    assert (crashed.returncode, crashed.stdout) == (without.returncode, without.stdout)
    if how != "enclave":  # where another thread spins, and may be interrupted
        assert counters_of(crashed.stderr)[0] == counters_of(without.stderr)[0]


# Which processes have cores, and where.


@pytest.mark.parametrize("name", ["QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "SEGV", "XCPU", "XFSZ", "SYS"])
def test_each_signal_that_dumps_core_leaves_one(tmp_path: Path, name: str) -> None:
    done = sh(f"kill -{name} $$", options=("--core-dir", str(tmp_path)))
    assert done.returncode == -getattr(signal, f"SIG{name}")
    (path,) = tmp_path.iterdir()
    assert Core(path).all(PRSTATUS)[0].word(12, 2) == getattr(signal, f"SIG{name}")


@pytest.mark.parametrize("script", ["kill -TERM $$", "kill -KILL $$", "trap '' QUIT; kill -QUIT $$; exit 0", "exit 7",
                                    "trap 'exit 0' SEGV; kill -SEGV $$"])  # fmt: skip
def test_all_other_ends_leave_none(tmp_path: Path, script: str) -> None:
    run("/bin/sh", "-c", script, options=("--core-dir", str(tmp_path)))
    assert list(tmp_path.iterdir()) == []


@needs_gdb
def test_a_process_that_a_seccomp_filter_kills_has_one(crash: Callable[..., Crash]) -> None:
    crashed = crash("seccomp")
    assert crashed.done.returncode == -signal.SIGSYS
    said = gdb(crashed.program, crashed.path, "bt")
    assert "Program terminated with signal SIGSYS" in said and re.search(r"#\d+ .* in main ", said)


@needs_gdb
def test_a_process_with_threads_that_a_seccomp_filter_kills_has_its_memory(crash: Callable[..., Crash]) -> None:
    crashed = crash("seccomp-threads")
    assert crashed.done.returncode == -signal.SIGSYS
    assert re.search(r"^\$1 = 4711$", gdb(crashed.program, crashed.path, "print known"), re.MULTILINE)


def test_threads_that_crash_at_once_leave_one(crash: Callable[..., Crash]) -> None:
    crashed = crash("threads")
    assert crashed.done.returncode == -signal.SIGSEGV and crashed.done.stderr.count("\n") == 1
    assert 1 < len(crashed.core.all(PRSTATUS)) <= 17


def test_a_thread_that_nothing_stops_holds_no_core_up(crash: Callable[..., Crash]) -> None:
    crashed = crash("stuck")
    if crashed.done.returncode == 77:
        pytest.skip("no userfaultfd(2) here")
    assert crashed.done.returncode == -signal.SIGABRT and len(crashed.core.all(PRSTATUS)) == 1


def test_two_processes_that_crash_at_once_leave_two(crash: Callable[..., Crash]) -> None:
    crashed = crash("forks")
    assert crashed.done.returncode == 0
    assert [Core(path).all(SIGINFO)[0].word(0, 4) for path in crashed.paths] == [signal.SIGABRT] * 2


def test_a_process_that_is_not_dumpable_has_none(crash: Callable[..., Crash]) -> None:
    crashed = crash("undumpable")
    assert crashed.done.returncode == -signal.SIGABRT and crashed.paths == []
    assert "no core, for it is not dumpable" in crashed.done.stderr


def test_reserved_addresses_cost_nothing(crash: Callable[..., Crash]) -> None:
    crashed = crash("reserved")
    status = crashed.path.stat()
    assert status.st_blocks * 512 < 8 << 20 and status.st_size < 1 << 30
    assert sum(load["p_memsz"] for load in crashed.core.loads) > 2 << 40
    reserved = max((load for load in crashed.core.loads), key=lambda load: load["p_memsz"])["p_vaddr"]
    assert reserved


def test_nothing_that_is_there_is_written_over(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    cores = tmp_path / "cores"
    cores.mkdir()
    script = f"ln -s {victim} {cores}/core.sh.$$; kill -SEGV $$"
    sh(script, options=("--core-dir", str(cores)))
    (link, core) = sorted(cores.iterdir())
    assert link.is_symlink() and not victim.exists()
    assert core.name == f"{link.name}.2" and core.stat().st_size


def test_the_name_has_nothing_in_it_that_leads_elsewhere(tmp_path: Path) -> None:
    tool = tmp_path / "a b;c$d"
    shutil.copy("/bin/sh", tool)
    run(tool, "-c", "kill -SEGV $$", options=("--core-dir", str(tmp_path / "cores")))
    (path,) = (tmp_path / "cores").iterdir()
    assert re.fullmatch(r"core\.a!b!c!d\.\d+", path.name)


def test_a_directory_that_cannot_be_is_told_of_before_the_program_runs(tmp_path: Path) -> None:
    done = sh("echo runs", options=("--core-dir", str(tmp_path / "not" / "there")))
    assert (done.returncode, done.stdout) == (125, "")
    assert done.stderr == f"enclu: no cores can be written to {tmp_path}/not/there: {os.strerror(errno.ENOENT)}\n"
    (tmp_path / "file").touch()
    assert sh("echo runs", options=("--core-dir", str(tmp_path / "file"))).returncode == 2


def test_a_full_disk_leaves_a_line_and_no_part_of_a_core(tmp_path: Path) -> None:
    inner = " ".join(RUN)
    script = (
        f"mount -t tmpfs -o size=64k none {tmp_path} || exit 77; "
        f"{inner} --core-dir {tmp_path} /bin/sh -c 'kill -SEGV $$'; echo status $?; ls -A {tmp_path}"
    )
    command = ["unshare", "-m", "/bin/sh", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=HANGS, check=False)
    if done.returncode in (1, 77) and "status" not in done.stdout:
        pytest.skip("a file system cannot be mounted here")
    assert done.stdout == "status 139\n"
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("enclu:")]
    assert re.fullmatch(rf"enclu: process \d+, SIGSEGV: no core in {tmp_path}: No space left on device", line)


# Cores of processes that go on.


@contextmanager
def waiting(
    program: Path, env: dict[str, str], *how: str, options: tuple[str, ...] = ()
) -> Iterator[subprocess.Popen[str]]:
    """`crashes waits`, once it waits."""
    command = [*RUN, *options, str(program), "waits", *how]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(**env),
    ) as running:
        assert running.stdout
        assert any(line == "ready\n" for line in running.stdout)
        try:
            yield running
        finally:
            running.kill()


def end(running: subprocess.Popen[str]) -> tuple[int, str]:
    """Let it go on, to its end."""
    _, errors = running.communicate("\n", timeout=HANGS)
    return running.returncode, errors


def test_a_process_goes_on_after_its_core_as_if_nothing_had_been(
    program: Built, enclave_environment: dict[str, str], tmp_path: Path
) -> None:
    results = []
    for count in (0, 2):
        with waiting(program("crashes"), enclave_environment, options=("--stats=json",)) as running:
            for number in range(count):
                done = enclu("core", str(running.pid), "-o", tmp_path / f"{number}")
                assert (done.returncode, done.stdout, done.stderr) == (0, f"{tmp_path}/{number}\n", "")
            results.append(end(running))
    assert results[0] == results[1] and results[0][0] == 0
    assert [Core(tmp_path / name).all(PRSTATUS)[0].word(12, 2) for name in "01"] == [0, 0]


@needs_gdb
def test_a_core_of_a_process_that_goes_on_shows_all_its_threads(
    program: Built, enclave_environment: dict[str, str], tmp_path: Path
) -> None:
    path = tmp_path / "core"
    with waiting(program("crashes"), enclave_environment) as running:
        assert enclu("core", str(running.pid), "-o", path).returncode == 0
        assert end(running) == (0, "")
    lines = enclu("core", "--inspect", "--gdb", "--image", enclave_environment["ENCLU_TEST_ENCLAVE"], path).stdout
    said = gdb(program("crashes"), path, "info threads", first=lines.splitlines())
    assert len(re.findall(r" encl_body .*body\.c:", said)) == 2, said
    states = [thread["state"] for thread in Core(path).about["threads"]]
    assert states == ["outside", "inside", "interrupted"]


def test_nothing_of_a_production_enclave_is_shown_of_a_process_that_goes_on(
    program: Built, enclave_environment: dict[str, str], tmp_path: Path
) -> None:
    with waiting(program("crashes"), enclave_environment, "production") as running:
        assert enclu("core", str(running.pid), "-o", tmp_path / "a").returncode == 0
        assert enclu("core", str(running.pid), "-o", tmp_path / "b", "--enclaves", "all").returncode == 0
        assert end(running) == (0, "")
    hidden, shown = Core(tmp_path / "a"), Core(tmp_path / "b")
    (enclave,) = hidden.about["enclaves"]
    inside = registers(hidden.all(PRSTATUS)[1])
    assert (inside["rax"], inside["rbx"]) == (3, enclave["base"] + 4096)
    assert not enclave["base"] <= inside["rip"] < enclave["base"] + enclave["size"]
    assert heap_of(hidden) is None and heap_of(shown) == HEAP_WORD
    assert len(hidden.all(PRSTATUS)) == 2 and len(shown.all(PRSTATUS)) == 3


def test_what_cannot_be_asked_for_is_told(tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.write_text("kept")
    done = enclu("core", str(os.getpid()), "-o", tmp_path / "core")
    assert done.returncode == 1 and f"process {os.getpid()} is not under `enclu run`" in done.stderr
    assert "no process" in enclu("core", "4194305", "-o", tmp_path / "core").stderr
    assert "no number of a process" in enclu("core", "x").stderr
    assert "is not overwritten" in enclu("core", str(os.getpid()), "-o", there).stderr
    assert sorted(tmp_path.iterdir()) == [there] and there.read_text() == "kept"


def test_a_process_that_is_not_dumpable_is_refused(program: Built, tmp_path: Path) -> None:
    script = "import ctypes, sys; ctypes.CDLL(None).prctl(4, 0, 0, 0, 0); print('ready', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [*RUN, "/usr/bin/python3", "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as running:
        assert running.stdout and running.stdout.readline() == "ready\n"
        done = enclu("core", str(running.pid), "-o", tmp_path / "core")
        assert done.returncode == 1 and "not dumpable" in done.stderr and not (tmp_path / "core").exists()
        running.communicate("", timeout=HANGS)
        assert running.returncode == 0


def test_a_request_that_makes_no_sense_harms_nobody(program: Built, enclave_environment: dict[str, str]) -> None:
    from enclu.run import control

    with waiting(program("crashes"), enclave_environment) as running:
        for request in ({"request": "nothing"}, {"request": "core"}, {"request": ["core"]}):
            with pytest.raises(control.Refused):
                control.ask(running.pid, request)
        os.kill(supervisor_of(running.pid), proc.REQUEST)  # and nobody there
        assert end(running) == (0, "")


def test_a_stopped_process_stays_stopped(tmp_path: Path) -> None:
    with subprocess.Popen([*RUN, "/bin/cat"], stdin=subprocess.PIPE, env=environment()) as running:
        assert wait_until(lambda: status(running.pid, "Name").strip() == "cat")
        os.kill(running.pid, signal.SIGSTOP)
        assert wait_until(lambda: status(running.pid, "State").strip()[0] in "Tt")
        assert enclu("core", str(running.pid), "-o", tmp_path / "core").returncode == 0
        assert status(running.pid, "State").strip()[0] in "Tt"
        os.kill(running.pid, signal.SIGCONT)
        running.communicate(b"", timeout=HANGS)
        assert running.returncode == 0


# What `enclu core --inspect` says.


def test_a_core_is_described(crash: Callable[..., Crash]) -> None:
    done = enclu("core", "--inspect", "--image", (crashed := crash("line")).enclave, crashed.path)
    assert done.returncode == 0
    assert re.match(
        r"exception #PF \(page fault\) at 0x1000, error code 0x6: write where nothing is mapped", done.stdout
    )
    assert re.search(
        r"INIT\|DEBUG\|MODE64BIT, XFRM 0x3; its pages are in the core\n  MRENCLAVE [0-9a-f]{64}\n", done.stdout
    )
    assert f"  file {crashed.enclave}\n" in done.stdout and "at the AEP, about to execute ERESUME" in done.stdout


def test_what_is_no_core_is_told(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("not a core")
    (tmp_path / "empty").touch()
    for path, why in (
        ("text", "not a core"), ("empty", "not a core"), ("missing", "No such file"), ("/bin/sh", "another program"),
    ):  # fmt: skip
        done = enclu("core", "--inspect", tmp_path / path)
        assert done.returncode == 1 and why in done.stderr and done.stderr.count("\n") == 1, done.stderr


def test_a_damaged_core_is_told_of(crash: Callable[..., Crash], tmp_path: Path) -> None:
    data = bytearray(crash("abort").path.read_bytes())
    at = data.index(b'{"version":1')
    data[at : at + 12] = b'{"version":9'
    (tmp_path / "newer").write_bytes(data)
    data[at : at + 12] = b'["version":1'
    (tmp_path / "damaged").write_bytes(data)
    assert "has version 9" in enclu("core", "--inspect", tmp_path / "newer").stderr
    assert "damaged" in enclu("core", "--inspect", tmp_path / "damaged").stderr
    (tmp_path / "cut").write_bytes(data[:100])
    done = enclu("core", "--inspect", tmp_path / "cut")
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr


@needs_gdb
def test_the_file_of_an_enclave_that_is_mapped_while_it_is_loaded_is_known(
    tmp_path: Path, program: Built, enclave_environment: dict[str, str], enclu_run: EncluRun
) -> None:
    maps = tmp_path / "maps.so"
    source = tmp_path / "maps.c"
    source.write_text(
        "#include <fcntl.h>\n#include <stdlib.h>\n"
        '__attribute__((constructor)) static void keep(void) { open(getenv("ENCLU_TEST_ENCLAVE"), O_RDONLY); }\n'
    )
    compile_c("-shared", "-fPIC", source, "-o", maps)
    env = {**enclave_environment, "LD_PRELOAD": str(maps)}
    enclu_run(program("crashes"), "line", options=("--core-dir", str(tmp_path / "cores")), env=env)
    (path,) = (tmp_path / "cores").iterdir()
    assert Core(path).about["enclaves"][0]["image"] == enclave_environment["ENCLU_TEST_ENCLAVE"]
    lines = enclu("core", "--inspect", "--gdb", path).stdout.splitlines()
    assert "encl_body" in gdb(program("crashes"), path, "bt", first=lines)
