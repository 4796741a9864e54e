"""The conventions of Open Enclave."""

from enclu.host.conventions.open_enclave.abi import OeError, OeResult
from enclu.host.conventions.open_enclave.convention import OpenEnclaveConvention

__all__ = ["OeError", "OeResult", "OpenEnclaveConvention"]
