"""Talking to a provisioning certification enclave: enclu's own (enclaves/pce.h), or Intel's.

Intel's: linux-sgx, psw/ae/pce/pce.edl, whose ECALLs go by number with a structure of pointers.
"""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from enclu.host.attestation.identity import target_info
from enclu.host.errors import HostError
from enclu.sgx.layout import Structure
from enclu.sgx.structs import REPORT, SIGSTRUCT, TARGETINFO

if TYPE_CHECKING:
    from enclu.host.enclave import Enclave

PCE_INFO = Structure("pce_info", 520, (0, "target", f"{TARGETINFO.size}s"), (512, "pce_svn", "H"), (514, "pce_id", "H"))
PCE_CERTIFICATION = Structure(
    "pce_certification", 528,
    (0, "report", f"{REPORT.size}s"), (432, "cpusvn", "16s"), (448, "pce_svn", "H"), (464, "signature", "64s"),
)  # fmt: skip
INTEL_CERTIFY = Structure(
    "ms_certify_enclave_t", 48,
    (0, "retval", "I"), (8, "cert_psvn", "Q"), (16, "report", "Q"), (24, "signature", "Q"),
    (32, "signature_buf_size", "I"), (40, "signature_out_size", "Q"),
)  # fmt: skip
PSVN = Structure("psvn_t", 18, (0, "cpusvn", "16s"), (16, "isv_svn", "H"))
INTEL_CERTIFY_ENCLAVE = 1
"""The second ECALL of its EDL."""
PCE_ID = 0
"""Of Intel's PCE, and of enclu's."""
SIGNATURE = 64


class AttestationError(HostError):
    """A report, or an attestation key, was refused."""


class PceFunction(enum.IntEnum):
    """enum pce_function."""

    GET_INFO = 0
    CERTIFY = 1


class PceError(enum.IntEnum):
    """enum pce_error."""

    OK = 0
    INVALID_PARAMETER = 1
    INVALID_REPORT = 2
    INVALID_PRIVILEGE = 3
    REFUSED_SVN = 4
    FAILED = 5


class IntelPceError(enum.IntEnum):
    """Of linux-sgx, common/inc/internal/aeerror.h: those that certifying can end with."""

    AE_FAILURE = 1
    AE_INVALID_PARAMETER = 15
    AE_OUT_OF_MEMORY_ERROR = 17
    AE_INSUFFICIENT_DATA_IN_BUFFER = 18
    PCE_UNEXPECTED_ERROR = 206
    PCE_INVALID_PRIVILEGE = 207
    PCE_INVALID_REPORT = 208


@dataclass(frozen=True)
class PceInfo:
    """Whom quoting enclaves report to."""

    target: bytes
    """TARGETINFO."""
    svn: int
    pceid: int


class Certifier(ABC):
    """A PCE in a process."""

    def __init__(self, enclave: Enclave) -> None:
        self.enclave = enclave

    @abstractmethod
    def info(self) -> PceInfo:
        """Who it is."""

    @abstractmethod
    def certify(self, report: bytes, cpusvn: bytes, svn: int) -> bytes:
        """The signature of a QE's REPORT's body, for this TCB.  Raises AttestationError."""

    def _refused(self, error: int, names: type[enum.IntEnum]) -> AttestationError:
        name = next((e.name for e in names if e == error), f"{error:#x}")
        return AttestationError(f"the certification enclave refuses the quoting enclave: {name}")


class OwnPce(Certifier):
    """enclaves/pce.c."""

    def info(self) -> PceInfo:
        image = bytearray(PCE_INFO.size)
        error = self.enclave.ecall(PceFunction.GET_INFO, image)
        if error:
            raise self._refused(error, PceError)
        found = PCE_INFO.unpack(image)
        return PceInfo(found["target"], found["pce_svn"], found["pce_id"])

    def certify(self, report: bytes, cpusvn: bytes, svn: int) -> bytes:
        request = bytearray(PCE_CERTIFICATION.pack(report=report, cpusvn=cpusvn, pce_svn=svn))
        error = self.enclave.ecall(PceFunction.CERTIFY, request)
        if error:
            raise self._refused(error, PceError)
        return bytes(PCE_CERTIFICATION.get(request, "signature"))


class IntelPce(Certifier):
    """libsgx_pce.signed.so, as Intel distributes it."""

    def info(self) -> PceInfo:
        sigstruct = self.enclave.image.sigstruct
        assert sigstruct is not None
        return PceInfo(target_info(self.enclave), SIGSTRUCT.get(sigstruct, "ISVSVN"), PCE_ID)

    def certify(self, report: bytes, cpusvn: bytes, svn: int) -> bytes:
        memory = self.enclave.process.memory
        with (
            memory.temporary(PSVN.pack(cpusvn=cpusvn, isv_svn=svn)) as psvn,
            memory.temporary(report) as report_at,
            memory.temporary(SIGNATURE) as signature,
            memory.temporary(4) as size,
        ):
            fields = {"cert_psvn": psvn, "report": report_at, "signature": signature, "signature_out_size": size}
            request = bytearray(INTEL_CERTIFY.pack(signature_buf_size=SIGNATURE, **fields))
            self.enclave.ecall(INTEL_CERTIFY_ENCLAVE, request)
            error = INTEL_CERTIFY.get(request, "retval")
            if error:
                raise self._refused(error, IntelPceError)
            return memory.read(signature, SIGNATURE)


def certifier(enclave: Enclave) -> Certifier:
    """By the kind of its image."""
    return IntelPce(enclave) if enclave.image.format == "intel-sdk" else OwnPce(enclave)
