"""The error that an ECALL of the SDK ends with."""

from __future__ import annotations

from enclu.host.edl.sdk_status import SgxStatus as SgxStatus
from enclu.host.errors import HostError


class SdkError(HostError):
    """An ECALL, or the enclave's start, ended with a status other than SGX_SUCCESS."""

    def __init__(self, where: str, status: int, why: str = "") -> None:
        self.status = SgxStatus(status)
        super().__init__(f"{where}: {self.status.name}{': ' if why else ''}{why}")
