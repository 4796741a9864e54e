"""What there is to run: scenarios and runtimes, as their folders describe them.  Format: scenarios/README.md."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import enclu
from enclu.compare import CompareError
from enclu.compare.runtimes import Runtime, declared
from enclu.linux import delivery

KEYS = {
    "title": str, "about": str, "thread": list, "sources": list, "libraries": list, "flags": list, "timeout": int,
    "options": list, "also": list, "programs": list, "packages": list,
    "enclaves": dict, "modules": dict,
}  # fmt: skip
LANGUAGES = {".c": "gcc", ".S": "gcc", ".cc": "g++", ".go": "go"}


@dataclass(frozen=True)
class Sentence:
    """What somebody in the thread said.  Message 0 is the cover letter."""

    message: int
    says: str


@dataclass(frozen=True)
class Enclave:
    """An enclave image to be built and signed."""

    name: str
    sources: tuple[Path, ...]
    heap_pages: int = 0
    """Read-write pages after the image, not measured."""
    spare_pages: int = 0
    """Addresses after the heap, without pages."""
    stack_pages: int = 4
    xfrm: int = 3
    miscselect: int = 1
    """EXINFO."""
    provision_key: bool = False
    """ATTRIBUTES.PROVISIONKEY."""
    libraries: tuple[str, ...] = ()
    """Static ones."""
    flags: tuple[str, ...] = ()
    """For the compiler."""


@dataclass(frozen=True)
class Module:
    """A shared object that a scenario's program loads."""

    name: str
    sources: tuple[Path, ...]
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Scenario:
    """A folder with a program, and what the thread says about it."""

    name: str
    folder: Path
    title: str
    about: str
    thread: tuple[Sentence, ...]
    sources: tuple[Path, ...]
    libraries: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    timeout: int = 60
    """Seconds."""
    options: tuple[str, ...] = ()
    """Of `enclu run`."""
    also: tuple[str, ...] = ()
    """Designs with a setting, besides every design with its default."""
    programs: tuple[str, ...] = ()
    """Of the system, that it runs."""
    packages: tuple[str, ...] = ()
    """Debian's, that have these programs and what it is built with, besides what every scenario needs."""
    enclaves: tuple[Enclave, ...] = ()
    modules: tuple[Module, ...] = ()

    @property
    def language(self) -> str:
        """The compiler: gcc, g++ or go."""
        suffixes = {s.suffix for s in self.sources}
        return next(tool for suffix, tool in reversed(LANGUAGES.items()) if suffix in suffixes)


@dataclass(frozen=True)
class Catalog:
    """All there is."""

    root: Path
    scenarios: dict[str, Scenario]
    runtimes: dict[str, Runtime]
    enclaves: tuple[Enclave, ...] = ()
    """For every scenario."""


def find_root() -> Path:
    """The scenarios folder: of the checkout, or as installed with the package.  Raises CompareError."""
    package = Path(enclu.__file__).parent
    for root in (package.parents[1] / "scenarios", package / "scenarios"):
        if (root / "runtimes").is_dir():
            return root
    raise CompareError("the scenarios are missing: neither in a checkout nor installed with the package")


def read(root: Path) -> Catalog:
    """Everything in the folder.  Raises CompareError for what is missing or malformed."""
    scenarios = [_scenario(path.parent) for path in sorted(root.glob("*/scenario.toml"))]
    runtimes = [_runtime(root / "runtimes", name) for name in delivery.names()]
    shared = _enclaves(root / "enclaves" / "enclaves.toml", _toml(root / "enclaves" / "enclaves.toml"))
    return Catalog(root, {s.name: s for s in scenarios}, {r.design: r for r in runtimes}, shared)


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise CompareError(f"{path} is missing") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CompareError(f"{path}: {error}") from None


def _scenario(folder: Path) -> Scenario:
    path = folder / "scenario.toml"
    given = _toml(path)
    for key, value in given.items():
        if key not in KEYS:
            raise CompareError(f"{path}: unknown key {key!r}; known: {', '.join(KEYS)}")
        if not isinstance(value, KEYS[key]):
            raise CompareError(f"{path}: {key!r} must be a {KEYS[key].__name__}")
    for key in ("title", "about", "thread"):
        if not given.get(key):
            raise CompareError(f"{path}: {key!r} is missing")
    try:
        thread = tuple(Sentence(**sentence) for sentence in given["thread"])
    except TypeError:
        raise CompareError(f"{path}: 'thread' is a list of {{ message = NUMBER, says = TEXT }}") from None
    for choice in given.get("also", ()):
        if choice not in delivery.choices():
            raise CompareError(f"{path}: unknown design {choice!r}; known: {', '.join(delivery.choices())}")
    enclaves = _enclaves(path, given.get("enclaves", {}))
    modules = tuple(
        Module(name, _files(path, table.get("sources", ())), tuple(table.get("flags", ())))
        for name, table in given.get("modules", {}).items()
    )
    others = {s for files in (*(e.sources for e in enclaves), *(m.sources for m in modules)) for s in files}
    sources = _files(path, given["sources"]) if "sources" in given else tuple(
        s for s in sorted(folder.iterdir()) if s.suffix in LANGUAGES and s not in others
    )  # fmt: skip
    if not sources:
        raise CompareError(f"{path}: no source of a program in {folder}: main.c, main.cc or main.go")
    return Scenario(
        folder.name, folder, given["title"], given["about"], thread, sources,
        tuple(given.get("libraries", ())), tuple(given.get("flags", ())), given.get("timeout", Scenario.timeout),
        tuple(given.get("options", ())), tuple(given.get("also", ())), tuple(given.get("programs", ())),
        tuple(given.get("packages", ())), enclaves, modules,
    )  # fmt: skip


def _files(path: Path, names: Any) -> tuple[Path, ...]:
    files = tuple(path.parent / name for name in names)
    for file in files:
        if not file.is_file():
            raise CompareError(f"{path}: there is no {file.name}")
    return files


def _enclaves(path: Path, given: dict[str, Any]) -> tuple[Enclave, ...]:
    try:
        return tuple(_enclave(path, name, **table) for name, table in given.items())
    except TypeError as error:
        raise CompareError(f"{path}: an enclave: {error}") from None


def _enclave(path: Path, name: str, sources: list[str], **keys: Any) -> Enclave:
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in keys.items()}
    return Enclave(name, _files(path, sources), **values)


def _runtime(runtimes: Path, design: str) -> Runtime:
    """The design's own, or one made of what it declares."""
    folder = runtimes / design
    if not folder.exists():
        return declared(runtimes, design)
    given = _toml(folder / "runtime.toml")
    sources = tuple(s for s in sorted(folder.iterdir()) if s.suffix in LANGUAGES)
    return Runtime(design, folder, sources, tuple(given.get("common", ())), tuple(given.get("needs", ())))


def choose(known: dict[str, Any] | list[str], asked: tuple[str, ...], what: str) -> list[str]:
    """The names asked for in the order in which they are known; all if none is.  Raises CompareError."""
    for name in asked:
        if name not in known:
            raise CompareError(f"unknown {what} {name!r}; known: {', '.join(known)}")
    return [name for name in known if not asked or name in asked]
