"""The conventions of Open Enclave."""

from typing import TYPE_CHECKING

from enclu.base.lazy import attributes

if TYPE_CHECKING:
    from enclu.host.conventions.open_enclave.abi import OeError, OeResult
    from enclu.host.conventions.open_enclave.convention import OpenEnclaveConvention

__all__ = ["OeError", "OeResult", "OpenEnclaveConvention"]

__getattr__ = attributes(__name__, {"OeError": "abi", "OeResult": "abi", "OpenEnclaveConvention": "convention"})
