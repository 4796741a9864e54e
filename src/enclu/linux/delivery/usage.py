"""How programs use a design: how they enter an enclave, and what they register.

Each design declares it once.  The agent of the Python host and the runtimes that `enclu compare` makes follow it.
"""

from __future__ import annotations

from collections.abc import Mapping

from enclu.sgx.layout import Structure

FUNCTION = "__vdso_sgx_enter_enclave"
REGISTERS = ("rdi", "rsi", "rdx", "r8", "r9", "r10")
"""With which enclaves are entered; what they get in others is nobody's business."""
ARGUMENTS = ("tcs", "leaf", "info")
"""Of a function, besides REGISTERS: address of the TCS, EENTER or ERESUME, address of the structure."""
MAX_ARGUMENTS = 7
"""Six in registers, one on the stack."""
MAX_SIZE = 256
"""Bytes of a structure."""
FIELDS = ("tcs", "leaf", "vector", "error_code", "address", "handler")
"""What a function's structure may have."""
VALUES = ("handler", "target", "start", "length", "flags")
"""Fields of what is registered."""


class OwnEnclu:
    """The program executes ENCLU in its own code; that is the AEP, too."""

    resumes = True
    registers = REGISTERS


class VdsoEnclu:
    """The program jumps to a bare ENCLU in the vDSO with the registers that ENCLU wants; RCX, the AEP, is that ENCLU.

    Exits and exceptions both go on at the `target` that is registered.
    """

    resumes = True
    registers = REGISTERS

    def __init__(self, symbol: str = FUNCTION) -> None:
        self.symbol = symbol


class VdsoFunction:
    """The program calls a function of the vDSO, in C, which returns when the enclave has been left.

    It keeps RSP and RBP; other registers need not survive.  The AEP is the last ENCLU in the exception table.
    """

    def __init__(
        self, arguments: tuple[str, ...], info: Structure, fields: Mapping[str, str], kept: tuple[str, ...] = (),
        symbol: str = FUNCTION,
    ) -> None:  # fmt: skip
        """Raises ValueError for what nobody could follow."""
        self.arguments = arguments
        """In C's order, each of REGISTERS (what the enclave shall have there) or of ARGUMENTS."""
        self.info = info
        """In which it tells how the enclave was left."""
        self.fields = fields
        """FIELDS to those of `info`.  `tcs` is set before the call.  After it, `leaf` is EENTER (2) or ERESUME (3) if
        an exception is told, EEXIT (4) or as it was if there was none; `vector`, `error_code` and `address` are the
        exception's.  `handler`, if there is one, is called back as Linux's sgx_enclave_user_handler_t is.
        """
        self.kept = kept
        """Of REGISTERS, those that are no arguments and reach the enclave all the same."""
        self.symbol = symbol
        possible = (*REGISTERS, *ARGUMENTS)
        for name in self.arguments:
            if name not in possible:
                raise ValueError(f"{self.symbol}: no argument is called {name!r}: {', '.join(possible)}")
        if len(self.arguments) > MAX_ARGUMENTS:
            raise ValueError(f"{self.symbol}: more than {MAX_ARGUMENTS} arguments")
        _check_size(self.info)
        known = {name for _, name, _ in self.info.fields}
        for meaning, name in self.fields.items():
            if meaning not in FIELDS or name not in known:
                raise ValueError(f"{self.symbol}: {meaning!r}: {name!r} is not one of {', '.join(FIELDS)} and a field")
        if not {"leaf", "vector", "error_code", "address"} <= self.fields.keys():
            raise ValueError(f"{self.symbol}: {self.info.name} does not tell leaf, vector, error_code and address")
        if "tcs" not in self.fields and "tcs" not in self.arguments:
            raise ValueError(f"{self.symbol}: nothing tells it the TCS")

    @property
    def resumes(self) -> bool:
        """Whether it can execute ERESUME."""
        return "leaf" in self.arguments

    @property
    def registers(self) -> tuple[str, ...]:
        """With which the program can have the enclave entered."""
        return tuple(name for name in REGISTERS if name in self.arguments or name in self.kept)


Entry = OwnEnclu | VdsoEnclu | VdsoFunction


class Registration:
    """The ioctl by which a program registers where exceptions go on, and the one that undoes it.

    Fields are filled by their names: `handler`, where exceptions go on; `target`, the same within reach of a JMP rel32
    from the vDSO; `start` and `length`, the code that holds the program's ENCLU; `flags`, 0.
    """

    def __init__(
        self, register: int, structure: Structure, unregister: int, named: Structure | None = None, *,
        of_thread: bool = False,
    ) -> None:  # fmt: skip
        """Raises ValueError for a field that nobody could fill."""
        self.register, self.structure, self.unregister = register, structure, unregister
        self.named = named if named is not None else Structure("nothing", 0)
        """Argument of the second."""
        self.of_thread = of_thread
        """For the calling thread, and nesting; else for its memory map."""
        for structure in (self.structure, self.named):
            _check_size(structure)
            for _, name, _ in structure.fields:
                if name not in VALUES:
                    raise ValueError(f"{structure.name}.{name}: nobody can fill it; known: {', '.join(VALUES)}")

    @property
    def goes_on_at(self) -> set[str]:
        """`handler` or `target`."""
        return {name for _, name, _ in self.structure.fields} & {"handler", "target"}


def _check_size(structure: Structure) -> None:
    if structure.size > MAX_SIZE:
        raise ValueError(f"{structure.name} is larger than {MAX_SIZE} bytes")


def check(entry: Entry, registration: Registration | None) -> None:
    """Raises ValueError where the two do not go together."""
    wanted = {OwnEnclu: {"handler"}, VdsoEnclu: {"target"}, VdsoFunction: set()}[type(entry)]
    if isinstance(entry, VdsoEnclu) and registration is None:
        raise ValueError("behind the vDSO's ENCLU, something registered must say where to go on")
    if registration is not None and registration.goes_on_at != wanted:
        raise ValueError(
            f"{type(entry).__name__}: what is registered has {', '.join(wanted) or 'neither handler nor target'}"
        )
