"""OCALLs by which Open Enclave's enclaves are attested: they are served by the process's quoting enclave.

Open Enclave: include/openenclave/edl/sgx/attestation.edl, host/sgx/sgxquote.c.
"""

from __future__ import annotations

import datetime
import functools
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from enclu.host.conventions.open_enclave.abi import OeError, OeResult
from enclu.host.conventions.open_enclave.marshal import aligned
from enclu.host.errors import HostError
from enclu.sgx.structs import REPORT, TARGETINFO

if TYPE_CHECKING:
    from enclu.host.attestation.platform import Platform
    from enclu.host.conventions.open_enclave.runtime import Runtime

ECDSA = bytes.fromhex("a3a21e871b4d4014b70aa125d2fbcd8c")
"""OE_FORMAT_UUID_SGX_ECDSA: what our quoting enclave makes."""
FORMAT_IDS = "oe_get_supported_attester_format_ids_ocall"
FORMATS = struct.Struct("<I4xQQI4xQ")
"""Its structure: result, deep copy's address and size, returned value, pointer."""


class AttestationOcalls:
    """Callables by name."""

    def __init__(self, convention: Runtime) -> None:
        self._convention = convention
        self.table: dict[str, Callable[..., Any]] = {
            "oe_get_qetarget_info_ocall": self.target_info,
            "oe_get_quote_ocall": self.quote,
            "oe_get_quote_verification_collateral_ocall": self.collateral,
            "oe_get_quote_verification_collateral_with_baseline_ocall":
                lambda fmspc, provider, _baseline, _size, *buffers: self.collateral(fmspc, provider, *buffers),
        }  # fmt: skip

    @property
    def _platform(self) -> Platform:
        from enclu.host.attestation.platform import Platform

        return Platform.of(self._convention.enclave.process)

    def format_ids(self, data: bytes, output_size: int) -> bytes:
        """The output buffer of the OCALL that asks for the kinds of quotes: the one that has a deep copy."""
        if len(data) != aligned(FORMATS.size) or output_size != len(data) + aligned(16):
            raise OeError(f"{FORMAT_IDS}(): buffers of another release of Open Enclave", OeResult.OE_UNSUPPORTED)
        address = self._convention.give(ECDSA)
        answer = FORMATS.pack(OeResult.OE_OK, address, len(ECDSA), OeResult.OE_OK, 0)
        return answer.ljust(len(data), b"\0") + struct.pack("<QQ", address, len(ECDSA))

    def target_info(self, kind: bytes | None, _parameters: bytes | None, _size: int, target: bytearray | None) -> int:
        if target is None or len(target) != TARGETINFO.size:
            return OeResult.OE_INVALID_PARAMETER
        if kind != ECDSA:
            return OeResult.OE_UNSUPPORTED
        target[:] = self._platform.target_info()
        return OeResult.OE_OK

    def quote(
        self, kind: bytes | None, _parameters: bytes | None, _size: int, report: bytes | None,
        quote: bytearray | None, room: int, used: bytearray | None,
    ) -> int:  # fmt: skip
        if report is None or used is None or len(report) != REPORT.size:
            return OeResult.OE_INVALID_PARAMETER
        if kind != ECDSA:
            return OeResult.OE_UNSUPPORTED
        try:
            made = self._platform.quote(report)
        except HostError:
            return OeResult.OE_PLATFORM_ERROR
        used[:] = len(made).to_bytes(8, "little")
        if quote is None or room < len(made):
            return OeResult.OE_BUFFER_TOO_SMALL
        quote[: len(made)] = made
        return OeResult.OE_OK

    def collateral(self, _fmspc: bytes | None, _provider: int, *buffers: Any) -> int:
        """What a verifier needs, in buffers of three arguments each: where to, how much room, how much there is."""
        short = False
        for data, buffer, room, used in zip(self._statements, buffers[0::3], buffers[1::3], buffers[2::3], strict=True):
            if used is None:
                return OeResult.OE_INVALID_PARAMETER
            used[:] = len(data).to_bytes(8, "little")
            if buffer is None or room < len(data):
                short = True
            else:
                buffer[: len(data)] = data
        return OeResult.OE_BUFFER_TOO_SMALL if short else OeResult.OE_OK

    @functools.cached_property
    def _statements(self) -> list[bytes]:
        """As the OCALL has them, each with a zero at its end.  Made once, since sizes of signatures vary."""
        from enclu.host.attestation.manufacturer import pem
        from enclu.host.attestation.platform import (
            QE_IDENTITY_FILE,
            SIGNING_CHAIN_FILE,
            TCB_INFO_FILE,
            collateral_files,
        )

        manufacturer, now = self._platform.manufacturer, datetime.datetime.now(datetime.UTC)
        files = collateral_files(manufacturer, now)
        root_list, processors_list = manufacturer.revoked(now)
        signers = files[SIGNING_CHAIN_FILE]
        processors = pem(manufacturer.processor_ca, manufacturer.root)
        statements = (
            files[TCB_INFO_FILE], signers, processors_list, root_list, processors, files[QE_IDENTITY_FILE], signers
        )  # fmt: skip
        return [statement + b"\0" for statement in statements]
