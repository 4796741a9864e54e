"""Builds scenarios, runtimes and enclaves into the user's cache, and again when a source has changed."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

import enclu
from enclu.base import directories, files
from enclu.compare import CompareError
from enclu.compare.catalog import Catalog, Enclave, Module, Scenario
from enclu.compare.runtimes import Runtime
from enclu.host import build, signing
from enclu.host.errors import HostError
from enclu.host.images import open_image
from enclu.sgx.structs import Attribute

PACKAGES = {"gcc": "gcc", "g++": "g++", "go": "golang-go", "ar": "binutils"}
"""Debian's, by compiler."""
LARGEST = 1 << 28
"""Bytes of what is built; nothing is nearly as large."""
SGX_TCS_COUNT = 4
"""scenarios/runtime.h has it, too."""
INSTANCES = ("a", "b", "c", "d", "probe")
"""Every runtime is built so many times, as objects of their own; the last records registers."""
WARNINGS = ("-Wall", "-Wextra", "-Werror")
HOST = ("-g", "-O1", "-D_GNU_SOURCE", *WARNINGS, "-pthread")
ENCLAVE = (*WARNINGS, "-mgeneral-regs-only")
"""So that what is left in vector registers is not the enclave's doing."""


@dataclass(frozen=True)
class Step:
    """Makes one file; `make` writes it where it is told."""

    output: Path
    inputs: tuple[Path, ...]
    recipe: tuple[str, ...]
    """What else the output depends on."""
    make: Callable[[Path], None]
    besides: tuple[Path, ...] = ()
    """Files that `make` writes, too."""


class Builder:
    """Builds into one directory; one builder at a time works there."""

    def __init__(self, catalog: Catalog, directory: Path | None = None) -> None:
        self.catalog = catalog
        self.directory = directory or default_directory(catalog.root)

    def program(self, scenario: Scenario) -> Path:
        """Where the scenario's program is, once built."""
        return self.directory / scenario.name / scenario.name

    @property
    def cost_program(self) -> Path:
        return self.directory / "cost" / "cost"

    def build(self, scenarios: list[Scenario], jobs: int, done: Callable[[], None] = lambda: None) -> None:
        """Build these and all that they need; `done` after each file.

        Raises CompareError with a compiler's words, or why nothing can be kept in the directory.
        """
        for scenario in scenarios:
            for program in scenario.programs:
                if shutil.which(program) is None:
                    raise CompareError(f"{program} is missing{_packages_of(scenario)}")
        try:
            with self._locked(), ThreadPoolExecutor(jobs) as pool:
                self._bring_up_to_date(self._support_step())
                for _ in pool.map(self._bring_up_to_date, self.steps(scenarios)):
                    done()
        except OSError as error:
            raise CompareError(
                f"{error.filename or self.directory}: {error.strerror}; what is built is kept there, "
                "or under XDG_CACHE_HOME if that is set"
            ) from None

    def steps(self, scenarios: list[Scenario]) -> Iterator[Step]:
        """Everything but what programs link to, which is built first."""
        for runtime in self.catalog.runtimes.values():
            for instance in INSTANCES:
                yield self._runtime(runtime, instance)
        for enclave in self.catalog.enclaves:
            yield self._enclave(enclave, "enclaves")
        yield self._cost()
        for scenario in scenarios:
            for enclave in scenario.enclaves:
                yield _for(scenario, self._enclave(enclave, scenario.name))
            for module in scenario.modules:
                yield _for(scenario, self._module(module, scenario))
            yield _for(scenario, self._program(scenario))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """The directory itself is the lock."""
        directories.make(self.directory)
        lock = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._signing_key()
            yield
        finally:
            os.close(lock)

    def _signing_key(self) -> RSAPrivateKey:
        try:
            return signing.signing_key(self.directory / "key.pem")
        except HostError as error:
            raise CompareError(str(error)) from None

    def _bring_up_to_date(self, step: Step) -> None:
        stamp = step.output.with_name(step.output.name + ".stamp")
        digest = hashlib.sha256(repr(step.recipe).encode())
        for file in step.inputs:
            digest.update(repr(file.name).encode() + file.read_bytes())
        wanted = digest.hexdigest()
        made = (step.output, *step.besides)
        content = _content_of(made)
        if content and _stamp_of(stamp) == f"{wanted} {content}":
            return
        directories.make(step.output.parent)
        scratch = step.output.with_name(step.output.name + ".new")
        scratch.unlink(missing_ok=True)  # left by a build that was killed, or none of ours
        step.make(scratch)
        scratch.chmod(scratch.stat().st_mode & ~0o022)  # whatever the umask is
        scratch.rename(step.output)
        directories.replace(stamp, f"{wanted} {_content_of(made)}".encode())

    # What is built, and from what.

    @property
    def _includes(self) -> tuple[str, ...]:
        return (f"-I{self.catalog.root}", f"-I{enclu.include_dir()}", f"-I{enclu.enclave_dir()}")

    def _headers(self, *folders: str) -> tuple[Path, ...]:
        root = self.catalog.root
        found = [p for folder in ("", "enclaves", *folders) for p in sorted((root / folder).glob("*.h"))]
        installed = [p for folder in (enclu.include_dir(), enclu.enclave_dir()) for p in sorted(folder.glob("*.h"))]
        return (*found, *installed)

    def _runtime(self, runtime: Runtime, instance: str) -> Step:
        common = self.catalog.root / "runtimes" / "common"
        probe = ("probe.c", "probe.S") if instance == "probe" else ()
        sources = (*runtime.sources, *(common / f for f in ("core.c", "loader.c", *runtime.common, *probe)))
        command = (
            "gcc", *HOST, *self._includes, f"-I{common}", "-shared", "-fPIC", "-fvisibility=hidden", "-fexceptions",
            f'-DRUNTIME_DESIGN="{runtime.design}"', f'-DRUNTIME_INSTANCE="{instance}"', *runtime.flags,
            *(("-DPROBE",) if probe else ()), *map(str, sources),
        )  # fmt: skip
        output = self.directory / "runtimes" / f"{runtime.design}-{instance}.so"
        return _compilation(output, (*sources, *self._headers("runtimes/common")), command)

    def _enclave(self, enclave: Enclave, folder: str) -> Step:
        flags = (*ENCLAVE, *self._includes, f"-I{self.catalog.root / 'enclaves'}", *enclave.flags)
        layout = build.Layout(
            SGX_TCS_COUNT, enclave.stack_pages, enclave.heap_pages, enclave.spare_pages,
            Attribute.MODE64BIT | (Attribute.PROVISIONKEY if enclave.provision_key else 0), enclave.xfrm,
            enclave.miscselect,
        )  # fmt: skip
        command = build.command(enclave.sources, layout, flags=flags, libraries=enclave.libraries)
        output = self.directory / folder / f"{enclave.name}.elf"
        headers = tuple(h for s in enclave.sources for h in s.parent.glob("*.h"))

        def make(scratch: Path) -> None:
            try:
                build.build_enclave(enclave.sources, scratch, layout, flags=flags, libraries=enclave.libraries)
                image = open_image(scratch)
                sigstruct = signing.sign(signing.unsigned(image, ISVPRODID=1, ISVSVN=1), self._signing_key())
                signing.write(image, sigstruct, output.with_name(output.name + ".sig"))
            except HostError as error:
                raise CompareError(str(error)) from None

        inputs = (*enclave.sources, *headers, *self._headers(), *build.parts())
        return Step(output, inputs, (*command, repr(enclave)), make, (output.with_name(output.name + ".sig"),))

    def _module(self, module: Module, scenario: Scenario) -> Step:
        command = (
            "gcc", *HOST, *self._includes, f"-I{scenario.folder}", "-shared", "-fPIC", "-fvisibility=hidden",
            *module.flags, *map(str, module.sources), str(self._support),
            *(f"-l{library}" for library in scenario.libraries),
        )  # fmt: skip
        return _compilation(self.directory / scenario.name / f"{module.name}.so", self._inputs(scenario), command)

    def _cost(self) -> Step:
        source = self.catalog.root / "cost" / "cost.c"
        command = ("gcc", *HOST, *self._includes, str(source), str(self._support))
        return _compilation(self.cost_program, (source, self._support, *self._headers()), command)

    def _program(self, scenario: Scenario) -> Step:
        libraries = tuple(f"-l{library}" for library in scenario.libraries)
        if scenario.language == "go":
            return self._go_program(scenario, libraries)
        command: tuple[str, ...] = (
            scenario.language, *HOST, *self._includes, f"-I{scenario.folder}", *scenario.flags,
            *map(str, scenario.sources), str(self._support), *libraries,
        )  # fmt: skip
        return _compilation(self.program(scenario), self._inputs(scenario), command)

    def _go_program(self, scenario: Scenario, libraries: tuple[str, ...]) -> Step:
        """cgo compiles the C files of the folder."""
        environment = {
            "CGO_ENABLED": "1", "CGO_CFLAGS": " ".join(("-g", "-O1", *self._includes)),
            "CGO_LDFLAGS": " ".join((str(self._support), *libraries)),
            "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=mod", "GOCACHE": str(self.directory / "go"),
        }  # fmt: skip
        recipe = ("go", "build", *environment.values())

        def make(scratch: Path) -> None:
            _run(("go", "build"), ("-o", str(scratch)), cwd=scenario.folder, environment=environment)

        return Step(self.program(scenario), self._inputs(scenario), recipe, make)

    @property
    def _support(self) -> Path:
        """scenario.c, for every program and module to link to: an archive, as Go names it to the linker twice."""
        return self.directory / "scenario.a"

    def _support_step(self) -> Step:
        source = self.catalog.root / "scenario.c"
        command = (
            "gcc", *HOST, *self._includes, "-fPIC", "-fvisibility=hidden", f'-DSCENARIOS_BUILD="{self.directory}"',
            "-c", str(source),
        )  # fmt: skip

        def make(scratch: Path) -> None:
            member = self.directory / "scenario.o"
            _run(command, ("-o", str(member)))
            scratch.unlink(missing_ok=True)
            _run(("ar", "rcs", str(scratch)), (str(member),))

        return Step(self._support, (source, *self._headers()), command, make)

    def _inputs(self, scenario: Scenario) -> tuple[Path, ...]:
        own = {p for p in scenario.folder.rglob("*") if p.is_file()}
        parts = (scenario.sources, *(m.sources for m in scenario.modules), *(e.sources for e in scenario.enclaves))
        sources = {source for part in parts for source in part}
        headers = {header for source in sources for header in source.parent.glob("*.h")}
        return (*sorted(own | sources | headers), self._support, *self._headers())


def default_directory(root: Path) -> Path:
    """A place of its own for each folder of scenarios.  Raises CompareError."""
    try:
        cache = directories.cache()
    except directories.NoHome as error:
        raise CompareError(f"nowhere to build the scenarios: {error.strerror}") from None
    return cache / "scenarios" / hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:8]


def _stamp_of(path: Path) -> str:
    """What a file was made of, and what it was then; nothing if that cannot be read."""
    try:
        return files.read_own(path, 2 * 64 + 1).decode("latin-1")
    except OSError:
        return ""


def _content_of(made: Iterable[Path]) -> str:
    """A digest; nothing if a file cannot be read, so that it is made again."""
    digest = hashlib.sha256()
    try:
        for path in made:
            digest.update(files.read_own(path, LARGEST))
    except OSError:
        return ""
    return digest.hexdigest()


def _packages_of(scenario: Scenario) -> str:
    return f"\nscenario {scenario.name} needs: apt-get install {' '.join(scenario.packages)}"


def _for(scenario: Scenario, step: Step) -> Step:
    """The step; if it fails, what the scenario needs is told."""

    def make(scratch: Path) -> None:
        try:
            step.make(scratch)
        except CompareError as error:
            raise CompareError(f"{error}{_packages_of(scenario)}") from None

    return replace(step, make=make) if scenario.packages else step


def _compilation(output: Path, inputs: tuple[Path, ...], command: tuple[str, ...]) -> Step:
    return Step(output, inputs, command, lambda scratch: _run(command, ("-o", str(scratch))))


def _run(
    command: tuple[str, ...], more: tuple[str, ...], cwd: Path | None = None, environment: dict[str, str] | None = None
) -> None:
    """Run a compiler.  Raises CompareError."""
    tool = shutil.which(command[0])
    if tool is None:
        package = PACKAGES[command[0]]
        raise CompareError(f"{command[0]} is missing, which builds the scenarios: apt-get install {package}")
    done = subprocess.run(
        [tool, *command[1:], *more], capture_output=True, text=True, cwd=cwd,
        env={**os.environ, **(environment or {})},
    )  # fmt: skip
    if done.returncode:
        raise CompareError(f"{' '.join(command)}\n{done.stderr.strip()}")
