"""What the OCALLs of Open Enclave's libraries need of the convention."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from enclu.host.conventions.open_enclave.names import Names
    from enclu.host.enclave import Enclave
    from enclu.host.thread import CallUnderWay


class Runtime(Protocol):
    """OpenEnclaveConvention, as those know it whom it has serve OCALLs."""

    enclave: Enclave
    names: Names

    @property
    def current(self) -> CallUnderWay:
        """The ECALL that the calling thread is in."""

    def give(self, data: bytes) -> int:
        """Memory that the enclave gives back."""

    def realloc(self, address: int, size: int) -> int:
        """As realloc(3), for the enclave."""
