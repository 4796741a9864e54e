"""pytest fixtures for enclaves: a machine for each test, and a look at what the test has left behind.

    def test_adds(enclave):
        assert enclave("enclave.c").ecall(0, 41) == 42

See docs/testing.md.  Loaded by pytest itself (entry point `pytest11`), so nothing heavy is imported before it is used.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from enclu.host.enclave import Enclave
    from enclu.host.machine import Machine
    from enclu.host.process import Process
    from enclu.host.trial_images import TrialImages

FIXTURES = ("enclave", "sgx_process", "sgx_machine", "sgx_delivery")
BUILD = ("sigstruct", "layout", "flags", "libraries")
"""Options of the fixture `enclave` that are not those of Process.load."""
MARKER = (
    "sgx(delivery='vdso', epc='2G'): the delivery design, a list of designs to run the test under each, or 'all'; "
    "and the size of the EPC"
)


class Hooks:
    """What other plugins and conftest.py files have a say in."""

    @pytest.hookspec
    def pytest_sgx_process_options(self, item: pytest.Item) -> dict[str, Any] | None:
        """Further arguments of `Machine.process` for the test's `sgx_process`; those that all give are put together."""


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    pluginmanager.add_hookspecs(Hooks)


_NAME_SIZE = 150
_INTERRUPTED = pytest.StashKey[bool]()


@dataclass(frozen=True)
class Wanted:
    """What markers, the command line and the configuration file say."""

    delivery: tuple[str, ...]
    epc: str | None
    """None: the machine's default."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("enclu", "SGX enclaves on the machine of enclu")
    group.addoption("--sgx-delivery", metavar="DESIGN", help="delivery design of tests whose marker names none")
    group.addoption("--sgx-epc", metavar="SIZE", help="EPC size of tests whose marker names none")
    group.addoption(
        "--enclu-core-dir", metavar="DIR", help="write cores of processes with enclaves of failed tests to DIR"
    )
    parser.addini("sgx_delivery", "as --sgx-delivery", default="vdso")
    parser.addini("sgx_epc", "as --sgx-epc", default="")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", MARKER)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """A report shows where the test has asked for something, not how enclu found out that it cannot be had."""
    if call.excinfo is not None:
        for namespace in [entry.frame.f_globals for entry in call.excinfo.traceback]:
            if _of_enclu(namespace):
                namespace["__tracebackhide__"] = _hidden  # pytest looks for it in a frame's locals and globals
    report: pytest.TestReport = yield
    directory = item.config.getoption("enclu_core_dir")
    machine = getattr(item, "funcargs", {}).get("sgx_machine")
    if directory and machine is not None and call.when == "call" and report.failed:
        assert call.excinfo is not None
        lines = list(_cores(Path(directory), item.nodeid, machine, call.excinfo.value))
        report.sections.append(("enclu", "\n".join(lines)))
    return report


def _cores(directory: Path, test: str, machine: Machine, error: BaseException) -> Iterator[str]:
    """Write a core of each process of the test's; what to tell of it."""
    from enclu.base import directories
    from enclu.host import cores
    from enclu.host.errors import HostError
    from enclu.host.events import EnclaveException

    raised: dict[object, EnclaveException] = {}
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, EnclaveException) and seen.enclave is not None:
            raised.setdefault(seen.enclave.process, seen)
        seen = seen.__cause__ or seen.__context__
    name = "".join(c if c.isalnum() or c in "-_." else "_" for c in test)[-_NAME_SIZE:]
    for process in machine.processes:
        if not process.alive or not process.enclaves:
            continue
        path = directory / f"core.{name}.{process.pid}"
        try:
            directories.make(directory)
            if process in raised:
                raised[process].core(path)
            else:
                cores.write(process, path)
            yield f"core of process {process.pid}: {path}"
        except (HostError, OSError) as why:
            yield f"no core of process {process.pid}: {why}"


def _of_enclu(namespace: dict[str, Any]) -> bool:
    return str(namespace.get("__name__")).startswith("enclu.")


def _hidden(excinfo: pytest.ExceptionInfo[BaseException]) -> bool:
    """Whether frames of enclu are: unless it is an error of enclu's own."""
    from enclu.host.errors import HostError

    return isinstance(excinfo.value, HostError) or not _of_enclu(excinfo.traceback[-1].frame.f_globals)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[Any]:
    """Whether the run ends here, by Ctrl-C: then what the test has left behind is not its fault."""
    try:
        return (yield)
    except (KeyboardInterrupt, pytest.exit.Exception):
        item.config.stash[_INTERRUPTED] = True
        raise


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test with several designs runs under each."""
    if set(metafunc.fixturenames).isdisjoint(FIXTURES):
        return
    designs = _wanted(metafunc.config, metafunc.definition).delivery
    if len(designs) > 1:
        if "sgx_delivery" not in metafunc.fixturenames:
            metafunc.fixturenames.append("sgx_delivery")
        metafunc.parametrize("sgx_delivery", designs, indirect=True)


def _wanted(config: pytest.Config, node: pytest.Item) -> Wanted:
    """The closest marker decides each value.  Raises UsageError."""
    from enclu.linux import delivery
    from enclu.sgx.epc import size_of

    values: dict[str, Any] = {}
    for marker in node.iter_markers("sgx"):
        unknown = set(marker.kwargs) - {"delivery", "epc"}
        if marker.args or unknown:
            raise pytest.UsageError(f"{node.nodeid}: pytest.mark.{MARKER}")
        for name, value in marker.kwargs.items():
            values.setdefault(name, value)
    for name in ("delivery", "epc"):
        values.setdefault(name, config.getoption(f"sgx_{name}") or config.getini(f"sgx_{name}"))
    named = delivery.names() if values["delivery"] == "all" else values["delivery"]
    designs = (named,) if isinstance(named, str) else tuple(named)
    if not designs:
        raise pytest.UsageError(f"{node.nodeid}: delivery: an empty list")
    for design in designs:
        if design not in delivery.choices():
            raise pytest.UsageError(
                f"{node.nodeid}: no delivery design is called {design!r}: {', '.join(delivery.choices())}"
            )
    epc = str(values["epc"]) if values["epc"] else None
    try:
        if epc is not None:
            size_of(epc)
    except ValueError as error:
        raise pytest.UsageError(f"{node.nodeid}: epc: {error}") from None
    return Wanted(designs, epc)


@pytest.fixture
def sgx_delivery(request: pytest.FixtureRequest) -> str:
    """The delivery design of the test."""
    chosen: str = getattr(request, "param", None) or _wanted(request.config, request.node).delivery[0]
    return chosen


@pytest.fixture
def sgx_machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    """An SGX machine of the test's own."""
    from enclu.host.machine import Machine

    before = set(_agents())
    with Machine(epc=_wanted(request.config, request.node).epc) as machine:
        yield machine
        if _INTERRUPTED in request.config.stash:
            return
        leaks = [leak for process in machine.processes if process.alive for leak in _leaks(process)]
    leaks += [f"process {pid} of another machine was not closed" for pid in sorted(set(_agents()) - before)]
    if leaks:
        pytest.fail("\n".join([f"{request.node.nodeid} leaves behind:", *leaks]), pytrace=False)


@pytest.fixture
def sgx_process(request: pytest.FixtureRequest, sgx_machine: Machine, sgx_delivery: str) -> Process:
    """A process of that machine, under the design of the test."""
    given: list[dict[str, Any]] = request.node.ihook.pytest_sgx_process_options(item=request.node)
    return sgx_machine.process(sgx_delivery, **{name: value for one in given for name, value in one.items()})


@pytest.fixture(scope="session")
def _sgx_images(tmp_path_factory: pytest.TempPathFactory) -> TrialImages:
    from enclu.host.trial_images import TrialImages

    return TrialImages(tmp_path_factory.mktemp("enclaves"))


@pytest.fixture
def enclave(
    request: pytest.FixtureRequest, sgx_process: Process, _sgx_images: TrialImages
) -> Iterator[Callable[..., Enclave]]:
    """Loads enclaves, `enclave(path, ...)`, and unloads them after the test.

    The path is that of an image or, one or more, of C files, which are built with `layout`, `flags` and `libraries` as
    enclu.host.build has them; what is not signed is signed with a key of the session.  A relative path is one in the
    folder of the test's file.  Further options are those of `Process.load`.
    """
    from enclu.host.errors import HostError, ProcessDied

    loaded: list[Enclave] = []

    def load(*files: str | os.PathLike[str], **options: Any) -> Enclave:
        made = {name: options.pop(name) for name in BUILD if name in options}
        new = sgx_process.load(_sgx_images.open([request.path.parent / Path(f) for f in files], **made), **options)
        loaded.append(new)
        return new

    yield load
    if _INTERRUPTED in request.config.stash:
        return  # the machine ends, and its processes with it
    for one in reversed(loaded):
        try:
            one.unload()
        except ProcessDied:
            break
        except HostError:
            pass  # a call is under way: sgx_machine says so


def _leaks(process: Process) -> Iterator[str]:
    """What the test has left in a process that it has not closed."""
    from enclu.host.events import EnclaveException

    for enclave in process.enclaves:
        for entry in enclave.entries:
            thread, tcs = entry.thread.user, entry.tcs - enclave.base
            if entry.running:
                yield f"thread {thread} is still in {_name(enclave)}, TCS {tcs:#x}"
            else:
                left = getattr(entry, "event", None)
                event = str(left) if isinstance(left, EnclaveException) else type(left).__name__
                yield f"thread {thread} has not closed its entry of {_name(enclave)}, TCS {tcs:#x}, left at {event}"
        if not enclave.entries:
            yield f"{_name(enclave)} was not unloaded"


def _name(enclave: Enclave) -> str:
    return f"enclave {enclave.image.path} at {enclave.base:#x}"


def _agents() -> Iterator[int]:
    """Processes with enclaves that this process has started and that run."""
    from enclu.host.agent_process import AGENT

    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            fields = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
            arguments = Path(f"/proc/{entry}/cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[1]) == os.getpid() and os.fsencode(AGENT) in arguments:
            yield int(entry)
