"""Releases of Open Enclave before 0.9, which spoke otherwise with their host; an image's symbols tell.

Open Enclave: include/openenclave/internal/calls.h of v0.5.0 to v0.9.0, common/sgx/sgx.edl of v0.7.0 and 0.8.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from enclu.host.conventions.open_enclave.abi import OcallFunction

if TYPE_CHECKING:
    from enclu.host.conventions.open_enclave.names import Names
    from enclu.host.images.open_enclave import Loader


@dataclass(frozen=True)
class Release:
    """`missing` says what is not provided for; empty where all is that any release has."""

    name: str
    missing: str = ""
    functions: Mapping[int, str] = field(default_factory=lambda: {f.value: f.name for f in OcallFunction})
    """oe_func_t, of OCALLs: by number, without OE_OCALL_."""
    renamed: Mapping[str, str] = field(default_factory=dict)
    """OCALLs of its EDL files that have other names in later ones, and the same parameters."""
    other: frozenset[str] = frozenset()
    """Those that have other parameters in later ones."""
    handlers: bool = True
    """VIRTUAL_EXCEPTION_HANDLER has the number that it has in later ones."""

    def function(self, number: int) -> OcallFunction | None:
        """The function with this number, if there is one like it in later releases."""
        return OcallFunction.__members__.get(self.functions.get(number, ""))


def _numbered(*names: str) -> dict[int, str]:
    return dict(enumerate(names, OcallFunction.CALL_HOST_FUNCTION))


CURRENT = Release("0.9 and later")
NAMED = Release(
    "0.7 or 0.8",
    "quotes and reports, sleeping and switchless calls",
    _numbered("CALL_HOST_FUNCTION", "THREAD_WAKE", "THREAD_WAIT", "MALLOC", "FREE", "SLEEP", "GET_TIME",
              "WAKE_HOST_WORKER"),
    {
        "oe_get_cpuid_table_ocall": "oe_sgx_get_cpuid_table_ocall",
        "oe_thread_wake_wait_ocall": "oe_sgx_thread_wake_wait_ocall",
        "oe_backtrace_symbols_ocall": "oe_sgx_backtrace_symbols_ocall",
    },
    frozenset({"oe_get_qetarget_info_ocall", "oe_get_quote_ocall"}),
)  # fmt: skip
NUMBERED = Release(
    "0.5 or 0.6",
    "CPUID, which it gets with other arguments at its start, exception handlers, quotes and reports, logging, "
    "sleeping, and waiting on two threads",
    _numbered("CALL_HOST_FUNCTION", "GET_QE_TARGET_INFO", "GET_QUOTE", "GET_REVOCATION_INFO", "GET_QE_ID_INFO",
              "THREAD_WAKE", "THREAD_WAIT", "THREAD_WAKE_WAIT", "MALLOC", "REALLOC", "FREE", "WRITE", "SLEEP",
              "GET_TIME", "BACKTRACE_SYMBOLS", "LOG"),
    handlers=False,
)  # fmt: skip
UNKNOWN = Release("before 0.8", "what it asks of its host otherwise than later releases: it has no symbols that tell")

_OF_NUMBERED = "oe_handle_verify_report"
"""A function that ECALLs of the runtime led to, until EDL files declared them."""


def of(names: Names, loader: Loader) -> Release:
    """The release by which an image was built."""
    symbols = names.symbols.by_name if names.symbols else {}
    if _OF_NUMBERED in symbols:
        return NUMBERED
    if any(name in symbols for name in NAMED.renamed):
        return NAMED
    return UNKNOWN if loader.gs_before_fs and not symbols else CURRENT
