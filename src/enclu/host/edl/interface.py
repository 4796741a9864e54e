"""The interface of an enclave: an EDL file with what it imports, its functions numbered as edger8r numbers them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from enclu.host.edl import methods, sdk_files
from enclu.host.edl.declarations import Declarations
from enclu.host.edl.methods import DynamicCalls
from enclu.host.edl.parser import parse_file, parse_text
from enclu.host.edl.sdk_files import Release
from enclu.host.edl.syntax import Composite, EdlError, EdlFile, Enumeration, Function, Import

if TYPE_CHECKING:
    from enclu.host.convention import Convention
    from enclu.host.events import Action, EnclaveException
    from enclu.host.images import Image
    from enclu.host.process import Process


class Interface(Declarations):
    """What an enclave's EDL files declare, and how its enclaves are loaded."""

    def convention(
        self, types: Mapping[str, type[Any] | int] | None = None, serve: str | Sequence[str] = ()
    ) -> type[Convention]:
        """For `Process.load(convention=...)`: functions by name, with arguments.

        `types` says what types of C headers are that no EDL file tells: classes of ctypes, or sizes.  `serve` names
        libraries of OCALLs that Python is to serve: "posix", "sgxssl".
        """
        return methods.convention(self, types or {}, serve)

    def load(
        self, process: Process, image: str | os.PathLike[str] | Image, ocalls: object = None, *,
        types: Mapping[str, type[Any] | int] | None = None, serve: str | Sequence[str] = (),
        debug: bool | None = None,
        on_exception: Callable[[EnclaveException], Action] | None = None,
    ) -> DynamicCalls:  # fmt: skip
        """Load an enclave that has this interface; its functions are the result's methods.

        `ocalls` is an object with a method for each OCALL, or a mapping from their names to callables; `types` and
        `serve` are as for `convention`.
        """
        calls: type[DynamicCalls] = type(self.name, (DynamicCalls,), {"interface": self, "types": types or {}})
        return calls.load(process, image, ocalls, serve=serve, debug=debug, on_exception=on_exception)


def load(
    path: str | os.PathLike[str], search: Iterable[str | os.PathLike[str]] = (), sdk: Release | None = None, *,
    missing_ok: bool = False,
) -> Interface:  # fmt: skip
    """Read an EDL file and what it imports.

    Imports are looked for beside the importing file, beside the first file and in `search`; then come the SDK's own
    files, as release `sdk` has them.  With `missing_ok`, what is not found is left out, as is right for files of Open
    Enclave's own: functions declared in the file itself have the first numbers.  Raises EdlError.
    """
    file = parse_file(Path(path))
    return _Imports(Path(path), tuple(map(Path, search)), sdk, missing_ok).interface(file)


def parse(
    text: str, name: str = "<text>", search: Iterable[str | os.PathLike[str]] = (), sdk: Release | None = None, *,
    missing_ok: bool = False,
) -> Interface:  # fmt: skip
    """As `load`, from a text."""
    return _Imports(Path(name), tuple(map(Path, search)), sdk, missing_ok).interface(parse_text(text, Path(name)))


class _Imports:
    """Follows imports; edger8r's reduce_import says in which order functions come."""

    def __init__(self, root: Path, search: Sequence[Path], sdk: Release | None, missing_ok: bool) -> None:
        self.missing_ok = missing_ok
        self.root = root
        self.search = search
        self.sdk = sdk
        self.under_way: list[str] = []

    def interface(self, file: EdlFile) -> Interface:
        files = self._followed(file, None)
        interface = Interface(
            self.root.stem,
            str(self.root),
            tuple(dict.fromkeys(name for part in files for name in part.includes)),
            tuple(composite for part in files for composite in part.composites),
            tuple(ecall for part in files for ecall in part.ecalls),
            tuple(ocall for part in files for ocall in part.ocalls),
            tuple(dict.fromkeys([*(Path(part.path).parent for part in files), *self.search])),
        )
        _check(interface)
        return interface

    def _followed(self, file: EdlFile, wanted: Sequence[str] | None, at: Import | None = None) -> list[EdlFile]:
        """A file and, after it, what it imports: all, or the functions named in `wanted` alone."""
        where = (at.position if at else None) or self.root
        if file.path in self.under_way:
            raise EdlError(where, f"`{file.path}' is imported in a circle")
        self.under_way.append(file.path)
        missing: list[str] = []
        if wanted is not None:
            names = {function.name for function in (*file.ecalls, *file.ocalls)}
            missing = [name for name in wanted if name not in names]
            if missing and not file.imports:
                raise EdlError(where, f"`{file.path}' has no function `{missing[0]}'")
            file = _only(file, wanted)
        files = [file]
        for declared in file.imports:
            imported = self._open(declared, Path(file.path).parent)
            if imported is None:
                continue
            names_wanted = (declared.names or None) if wanted is None else missing
            for more in self._followed(imported, names_wanted, declared):
                _join(files, more)
        self.under_way.pop()
        return files

    def _open(self, declared: Import, beside: Path) -> EdlFile | None:
        """None for one that may be missing, and is."""
        where = declared.position or self.root
        for directory in dict.fromkeys([beside, self.root.parent, *self.search]):
            candidate = directory / declared.path
            if candidate.is_file():
                return parse_file(Path(os.path.normpath(candidate)))
        name = Path(declared.path).name
        text = sdk_files.text(name, self.sdk)
        if text is None and self.missing_ok:
            return None
        if text is None:
            raise EdlError(where, f"there is no file `{declared.path}' beside this one or in the search path")
        return parse_text(text, Path(f"<SDK>/{name}"))


def _only(file: EdlFile, names: Iterable[str]) -> EdlFile:
    """The file with these functions alone."""
    wanted = set(names)
    return replace(
        file,
        ecalls=tuple(ecall for ecall in file.ecalls if ecall.name in wanted),
        ocalls=tuple(ocall for ocall in file.ocalls if ocall.name in wanted),
    )


def _join(files: list[EdlFile], more: EdlFile) -> None:
    """Append a file; of one whose like is there already, only the functions that are new."""
    short = Path(more.path).stem
    same = next((file for file in files if file.path and Path(file.path).stem == short), None)
    if same is not None:
        more = EdlFile(
            "",
            ecalls=tuple(ecall for ecall in more.ecalls if ecall not in same.ecalls),
            ocalls=tuple(ocall for ocall in more.ocalls if ocall not in same.ocalls),
        )
    files.append(more)


def _check(interface: Interface) -> None:
    """What can be wrong only between files."""
    functions: dict[str, Function] = {}
    for function in (*interface.ecalls, *interface.ocalls):
        if function.name in functions:
            first = functions[function.name].position
            raise EdlError(function.position or "", f"there is another function `{function.name}', at {first}")
        functions[function.name] = function
    composites: dict[str, Composite | Enumeration] = {}
    for composite in interface.composites:
        if composite.name in composites:
            first = composites[composite.name].position
            raise EdlError(composite.position or "", f"there is another type `{composite.name}', at {first}")
        if composite.name:
            composites[composite.name] = composite
    for ocall in interface.ocalls:
        for name in ocall.allow:
            if name not in interface.ecall_numbers:
                raise EdlError(ocall.position or "", f"`{ocall.name}' allows `{name}', which is no trusted function")
    _check_deep_copies(interface, composites)


def _check_deep_copies(interface: Interface, composites: dict[str, Composite | Enumeration]) -> None:
    for function in (*interface.ecalls, *interface.ocalls):
        for parameter in function.parameters:
            composite = composites.get(parameter.type.name)
            if not isinstance(composite, Composite) or not composite.deep_copied:
                continue
            where = parameter.position or function.position or ""
            if not parameter.type.pointers:
                raise EdlError(where, f"`struct {composite.name}' has members to follow: pass it by pointer")
            if parameter.attributes.out and not parameter.attributes.into:
                raise EdlError(where, f"`struct {composite.name}' has members to follow: it cannot be `out' only")
