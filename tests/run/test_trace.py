"""`enclu trace`, as strace is used."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace, TracePacket

from tests.support.perfetto_rules import broken
from tests.support.runs import ENCLU, HANGS, enclu, environment, run, wait_until

Traced = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def traced(program: Callable[[str], Path], enclave_environment: dict[str, str]) -> Traced:
    """traced(options, program, ...): a program of tests/c under `enclu trace`, to its end."""

    def trace(options: tuple[str | Path, ...], name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return enclu("trace", *options, program(name), *arguments, env=environment(**enclave_environment))

    return trace


def test_it_goes_to_standard_error_and_the_program_is_as_ever(traced: Traced) -> None:
    done = traced((), "leaves", "2")
    assert done.returncode == 0 and "ok 1 results" in done.stdout
    for words in ("open /dev/sgx_enclave", "ECREATE eid=1", "SGX_IOC_ENCLAVE_INIT eid=1 = 0", "EENTER tcs=0x",
                  "AEX #UD eid=1", "#UD at enclave 1 + 0x", "fixup by vdso: #UD", "ERESUME tcs=0x", "EDECCSSA tcs=0x",
                  "leaves ends with status 0"):  # fmt: skip
        assert words in done.stderr


def test_the_exit_status_is_the_programs() -> None:
    assert enclu("trace", "-e", "process", "/bin/sh", "-c", "exit 7").returncode == 7


@pytest.mark.parametrize("way", ["--fast-path", "--no-fast-path"])
@pytest.mark.parametrize("threads", ["1", "3"])
def test_json_has_as_many_of_each_as_the_counters_say(threads: str, way: str, traced: Traced, tmp_path: Path) -> None:
    log = tmp_path / "log"
    done = traced((way, "--format", "json", "--stats=json", "-o", log), "leaves", "200", threads, "3000")
    counters = json.loads(done.stderr.splitlines()[-1])
    head, *events = map(json.loads, log.read_text().splitlines())
    assert head["enclu_trace"] == 1 and head["delivery"] == "vdso" and head["command"][1:] == ["200", threads, "3000"]
    leaves = Counter(event["leaf"] for event in events if event["event"] == "leaf")
    assert dict(leaves) == counters["leaves"]
    assert bool(counters["in_process"]) == (way == "--fast-path")
    assert sum(event["event"] == "aex" for event in events) == sum(counters["aex"].values())


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_lossy_one_says_how_many_leaves_it_lacks(form: str, traced: Traced, tmp_path: Path) -> None:
    log = tmp_path / "log"
    done = traced(("--lossy", "--format", form, "--stats=json", "-o", log, "-e", "enclu"), "pairs", "30000")
    counters = json.loads(done.stderr.splitlines()[-1])
    lines = log.read_text().splitlines()
    if form == "json":
        events = [json.loads(line) for line in lines[1:]]
        told = sum(event["event"] == "leaf" for event in events)
        more = [event["count"] for event in events if event["event"] == "leaves_lost"]
    else:
        more = [int(line.split()[1].replace(",", "")) for line in lines if line.endswith(" leaves more, not recorded")]
        told = len(lines) - len(more)
    assert 4096 <= told < 10_000 and all(more)
    assert told + sum(more) == sum(counters["leaves"].values())
    assert counters["leaves"]["EENTER"] - counters["in_process"]["EENTER"] < 5


def test_of_a_thread_everything_is_in_order(traced: Traced, tmp_path: Path) -> None:
    log = tmp_path / "log"
    traced(("--format", "json", "-o", log, "-e", "enclu,aex"), "leaves", "100", "3", "3000")
    depth: dict[int, int] = {}
    last: dict[int, int] = {}
    for event in map(json.loads, log.read_text().splitlines()[1:]):
        tid, leaf = event["tid"], event.get("leaf", "")
        inside = depth.get(tid, 0)
        if leaf in ("EENTER", "ERESUME"):
            assert inside == 0
            depth[tid] = 1
        elif leaf == "EEXIT" or event["event"] == "aex":
            assert inside == 1
            depth[tid] = 0
        assert event["time"] >= last.get(tid, 0) - 2_000_000  # two clocks, one of which is measured
        last[tid] = event["time"]
    assert set(depth.values()) == {0}


def test_a_file_is_the_users_alone_and_begins_anew(traced: Traced, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("what was there\n" * 10_000)
    log.chmod(0o644)
    assert traced(("-o", log, "-e", "process"), "leaves", "1").returncode == 0
    assert "what was there" not in log.read_text() and log.stat().st_mode & 0o777 == 0o600
    log.unlink()
    traced(("-o", log, "-e", "process"), "leaves", "1")
    assert log.stat().st_mode & 0o777 == 0o600


def test_only_what_is_asked_for_is_there(traced: Traced) -> None:
    lines = traced(("-e", "eexit,enclave", "--quiet"), "leaves", "20").stderr.splitlines()
    assert lines and all("EEXIT" in line or "ECREATE" in line or "EINIT" in line or "removed" in line for line in lines)
    assert sum("EEXIT" in line for line in lines) == 60


def test_what_was_refused_is_there_with_its_reason(traced: Traced) -> None:
    done = traced(("-e", "ioctl,enclu"), "fails_after", "leaf")
    assert "-> #" in done.stderr and done.returncode


def test_run_writes_one_too(
    program: Callable[[str], Path], enclave_environment: dict[str, str], tmp_path: Path
) -> None:
    env = environment(**enclave_environment)
    for name, begin in (("log", "["), ("log.json", '{"enclu_trace": 1')):
        run(program("leaves"), "1", options=("--trace", str(tmp_path / name)), env=env)
        assert (tmp_path / name).read_text().startswith(begin)


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_process_may_be_called_anything(form: str) -> None:
    """By bytes that are no text, on two lines: each event has one."""
    script = r"open('/proc/self/comm', 'wb', 0).write(b'a\xff\nb'); raise SystemExit(3)"
    done = enclu("trace", "--format", form, "-e", "process_exit", sys.executable, "-c", script)
    *_, line = done.stderr.splitlines()
    assert done.returncode == 3
    if form == "text":
        assert line.endswith(r"] a\xdcff\x0ab ends with status 3")
    else:
        assert ascii(json.loads(line)["program"]) == r"'a\udcff\nb'"


def test_run_says_where_it_cannot_write_one() -> None:
    done = run("/bin/echo", "ran", options=("--trace", "/nowhere/log"))
    assert (done.returncode, done.stdout) == (125, "")
    assert done.stderr == "enclu: cannot write the trace to /nowhere/log: No such file or directory\n"


def test_children_are_followed(traced: Traced) -> None:
    done = traced(("-e", "enclave"), "forks_at_speed")
    assert len({line.split()[0] for line in done.stderr.splitlines() if "ECREATE" in line}) == 8


def test_a_program_without_enclaves_has_a_short_one() -> None:
    done = enclu("trace", "/bin/true")
    assert [line.split(" ", 1)[1] for line in done.stderr.splitlines()] == [
        "exec", "true ends with status 0", "thread ended", "process gone",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        (("-e", "nonsense"), 2, "'nonsense' is no event"),
        (("-o", "/nowhere/log"), 125, "cannot write the trace to /nowhere/log: No such file"),
        (("-o", "/"), 2, "is a directory"),
        (("--format", "perfetto"), 2, "give a file, as -o"),
        (("--format", "xml"), 2, "'xml' is not one of"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(options: tuple[str, ...], status: int, words: str) -> None:
    done = enclu("trace", *options, "/bin/echo", "ran")
    assert done.returncode == status and words in done.stderr and not done.stdout
    assert len(done.stderr.splitlines()) == 1


def test_a_reader_that_goes_does_not_end_the_program(
    program: Callable[[str], Path], enclave_environment: dict[str, str]
) -> None:
    script = f"{' '.join(ENCLU)} trace {program('pairs')} 50000 2>&1 >/dev/null | head -n 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", script], env=environment(**enclave_environment), capture_output=True, text=True, timeout=HANGS,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 1


@pytest.mark.parametrize("signo", [signal.SIGINT, signal.SIGKILL])
def test_what_there_is_is_kept_when_the_program_is_ended(
    signo: signal.Signals, program: Callable[[str], Path], enclave_environment: dict[str, str], tmp_path: Path
) -> None:
    log = tmp_path / "log"
    command = [*ENCLU, "trace", "-o", str(log), str(program("pairs")), "100000000"]
    with subprocess.Popen(command, env=environment(**enclave_environment), start_new_session=True) as process:
        assert wait_until(lambda: log.exists() and log.stat().st_size > 1_000_000)
        process.send_signal(signo)
        assert process.wait(HANGS) == -signo
        assert wait_until(lambda: "] process gone\n" in log.read_text()[-100:])


def test_no_file_is_left_behind(traced: Traced, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    traced((), "leaves", "1")
    assert os.listdir(tmp_path) == []


def test_two_at_once_write_a_trace_each(
    program: Callable[[str], Path], enclave_environment: dict[str, str], tmp_path: Path
) -> None:
    logs = [tmp_path / "a", tmp_path / "b"]
    running = [
        subprocess.Popen(
            [*ENCLU, "trace", "-e", "eexit", "-o", str(log), str(program("leaves")), "50"], stdout=subprocess.DEVNULL,
            env=environment(**enclave_environment),
        )
        for log in logs
    ]  # fmt: skip
    assert [process.wait(HANGS) for process in running] == [0, 0]
    assert [len(log.read_text().splitlines()) for log in logs] == [150, 150]


def test_the_help_names_what_can_be_asked_for() -> None:
    text = enclu("trace", "--help").stdout
    for word in ("enclu, aex, fault, fixup, signal, ioctl, enclave, paging, process", "eenter", "-o, --output", "json"):
        assert word in " ".join(text.split())


@pytest.mark.parametrize("way", ["--fast-path", "--no-fast-path"])
def test_perfetto_has_as_many_of_each_as_the_counters_say(way: str, traced: Traced, tmp_path: Path) -> None:
    log = tmp_path / "log"
    done = traced((way, "--format", "perfetto", "--stats=json", "-o", log), "leaves", "50", "3", "300")
    counters = json.loads(done.stderr.splitlines()[-1])
    found = Counter[str]()
    depth = Counter[int]()
    last: dict[int, int] = {}
    for packet in perfetto_packets(log):
        event = packet.track_event
        depth[event.track_uuid] += {event.TYPE_SLICE_BEGIN: 1, event.TYPE_SLICE_END: -1}.get(event.type, 0)
        assert depth[event.track_uuid] >= 0 and packet.timestamp >= last.get(event.track_uuid, 0)
        last[event.track_uuid] = packet.timestamp
        notes = {note.name: note.string_value for note in event.debug_annotations}
        if event.name:
            found[notes.get("leaf") or event.name.split()[0]] += 1
    leaves = counters["leaves"]
    assert {name: found[name] for name in leaves if name != "EEXIT"} == {
        name: count for name, count in leaves.items() if name != "EEXIT"
    }
    assert found["AEX"] == sum(counters["aex"].values()) and found["fixup"] == counters["fixups"]
    assert found["entry"] == leaves["EENTER"] and leaves["EENTER"] + leaves["ERESUME"] == found["AEX"] + leaves["EEXIT"]
    assert set(depth.values()) == {0}


def test_perfetto_shows_evictions(traced: Traced, tmp_path: Path) -> None:
    log = tmp_path / "log"
    done = traced(("--format", "perfetto", "--epc", "1M", "--stats=json", "-o", log), "oversubscribe")
    counters = json.loads(done.stderr.splitlines()[-1])
    names = Counter(packet.track_event.name for packet in perfetto_packets(log))
    assert names["EWB"] == counters["evictions"] > 0 and names["ELDU"] == counters["reloads"] > 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), ("leaves", "20", "3", "300")), (("--no-fast-path",), ("leaves", "20")), (("--lossy",), ("pairs", "30000")),
        (("--epc", "1M"), ("oversubscribe",)), (("-e", "aex"), ("leaves", "20")), ((), ("fork_inside",)),
        ((), ("vfork_spawn_exec",)), ((), ("exec_from_thread",)), ((), ("longjmp_out",)), ((), ("power_event",)),
    ],
    ids=lambda words: " ".join(words),
)  # fmt: skip
def test_no_packet_for_perfetto_breaks_its_rules(
    options: tuple[str, ...], words: tuple[str, ...], traced: Traced, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    traced((*options, "--format", "perfetto", "-o", log), *words)
    assert wait_until(lambda: is_whole(log.read_bytes()))
    assert broken(log.read_bytes()) == []


def is_whole(content: bytes) -> bool:
    """A trace that is not in the middle of being written."""
    try:
        return bool(Trace.FromString(content).packet)
    except DecodeError:
        return False


@pytest.mark.parametrize(
    ("options", "words"),
    [((), ("edmm",)), ((), ("counted", "augment", "7")), (("--epc", "1M"), ("counted", "heap", "400"))],
    ids=["pages removed", "pages added", "pages evicted"],
)
def test_the_counter_of_pages_ends_at_what_the_epc_has(
    options: tuple[str, ...], words: tuple[str, ...], traced: Traced, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    done = traced((*options, "--format", "perfetto", "--stats=json", "-o", log), *words)
    values = list[int]()
    for packet in perfetto_packets(log):
        if packet.track_event.name == "enclave removed":
            break  # after the counters were told
        if packet.track_event.track_uuid == tracks_of(log)["enclave 1: EPC pages"]:
            values.append(packet.track_event.counter_value)
    secs_and_version_array = 2
    assert values[-1] == json.loads(done.stderr.splitlines()[-1])["epc_used"] - secs_and_version_array


def tracks_of(log: Path) -> dict[str, int]:
    """By their names."""
    trace = Trace()
    trace.ParseFromString(log.read_bytes())
    tracks = (packet.track_descriptor for packet in trace.packet if packet.HasField("track_descriptor"))
    return {track.name: track.uuid for track in tracks}


def perfetto_packets(log: Path) -> list[TracePacket]:
    """Those of events, when the process is gone, which is after the program's end has been told."""
    found: list[TracePacket] = []

    def whole() -> bool:
        trace = Trace()
        try:
            trace.ParseFromString(log.read_bytes())
        except DecodeError:  # in the middle of being written
            return False
        found[:] = (packet for packet in trace.packet if packet.HasField("track_event"))
        return any(packet.track_event.name == "process gone" for packet in found)

    assert wait_until(whole)
    return found


def test_run_writes_one_for_perfetto_too(
    program: Callable[[str], Path], enclave_environment: dict[str, str], tmp_path: Path
) -> None:
    log = tmp_path / "log.pftrace"
    run(program("leaves"), "1", options=("--trace", str(log)), env=environment(**enclave_environment))
    assert perfetto_packets(log) and log.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("way", ["--fast-path", "--no-fast-path"])
def test_a_profile_counts_what_the_counters_say(way: str, traced: Traced, tmp_path: Path) -> None:
    log = tmp_path / "log.json"
    done = traced((way, "--format", "json", "--stats=json", "-o", log), "leaves", "50", "3", "300")
    counters = json.loads(done.stderr.splitlines()[-1])
    found = json.loads(enclu("profile", "--format", "json", log).stdout)
    assert found["leaves"] == counters["leaves"] and found["aexs"] == counters["aex"]
    assert found["transitions"] == counters["entries"] + counters["exits"] + sum(counters["aex"].values())
    assert sum(call["calls"] for call in found["calls"]) == counters["leaves"]["EENTER"]


def test_a_profile_tells_that_the_epc_is_too_small(traced: Traced, tmp_path: Path) -> None:
    log = tmp_path / "log.json"
    done = traced(("--epc", "4M", "--format", "json", "--stats=json", "-o", log), "oversubscribe")
    counters = json.loads(done.stderr.splitlines()[-1])
    found = json.loads(enclu("profile", "--format", "json", log).stdout)
    (paging,) = found["paging"].values()
    assert (paging["evictions"], paging["reloads"]) == (counters["evictions"], counters["reloads"])
    assert "epc" in {advice["rule"] for advice in found["advice"]}


def test_without_its_package_nothing_runs_for_perfetto(tmp_path: Path) -> None:
    (tmp_path / "perfetto.py").write_text("raise ImportError('it is not here')\n")
    env = environment(PYTHONPATH=str(tmp_path))
    done = enclu("trace", "--format", "perfetto", "-o", tmp_path / "log", "/bin/echo", "ran", env=env)
    assert (done.returncode, done.stdout) == (125, "") and not (tmp_path / "log").exists()
    assert done.stderr.count("\n") == 1 and "pip install 'enclu[perfetto]' (it is not here)" in done.stderr


def test_names_come_from_an_edl_file(tmp_path: Path) -> None:
    (tmp_path / "wrong.edl").write_text("enclave { trusted { nonsense")
    done = enclu("trace", "--edl", tmp_path / "wrong.edl", "/bin/echo", "ran")
    assert done.returncode == 1 and not done.stdout
    assert "wrong.edl" in done.stderr and done.stderr.count("\n") == 1
