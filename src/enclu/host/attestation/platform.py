"""Quotes: the quoting enclave (QE) and the certification enclave (PCE) in a process, and what goes between them.

The structures are those of enclaves/qe.h.
"""

from __future__ import annotations

import datetime
import enum
import threading
import weakref
from typing import TYPE_CHECKING

from enclu.base import directories, files
from enclu.host.attestation import architectural
from enclu.host.attestation.identity import target_info
from enclu.host.attestation.manufacturer import Manufacturer, Product, pem
from enclu.host.attestation.pce import PCE_CERTIFICATION, PCE_INFO, AttestationError, certifier
from enclu.host.attestation.quote import CertificationType
from enclu.host.errors import HostError
from enclu.host.signing import mrsigner
from enclu.sgx.layout import Structure
from enclu.sgx.structs import REPORT, SIGSTRUCT, Attribute

if TYPE_CHECKING:
    from collections.abc import Callable

    from enclu.host.enclave import Enclave, EnclaveProcess
    from enclu.host.events import Action, EnclaveException
    from enclu.host.images import Image

QE_CERTIFICATION = Structure(
    "qe_certification", 1072,
    (0, "pce", f"{PCE_INFO.size}s"), (520, "qe", f"{PCE_CERTIFICATION.size}s"), (1048, "type", "H"),
    (1056, "size", "Q"), (1064, "data", "Q"),
)  # fmt: skip
SEALED = Structure(
    "sgx_sealed", 72,
    (0, "keypolicy", "H"), (2, "isvsvn", "H"), (4, "size", "I"), (8, "cpusvn", "16s"), (24, "keyid", "32s"),
    (56, "siv", "16s"),
)  # fmt: skip
"""What sealed data begins with (enclave/sealing.h)."""
SEALED_KEY = SEALED.size + 32
"""A private key of P-256, sealed."""
QE_REQUEST = Structure(
    "qe_request", 1632,
    (0, "report", f"{REPORT.size}s"), (432, "certification", f"{QE_CERTIFICATION.size}s"),
    (1504, "key", f"{SEALED_KEY}s"), (1608, "key_size", "Q"), (1616, "quote_size", "Q"), (1624, "quote", "Q"),
)  # fmt: skip
ROOT_FILE, SIGNING_CHAIN_FILE = "root.pem", "tcb_signing_chain.pem"
TCB_INFO_FILE, QE_IDENTITY_FILE = "tcb_info.json", "qe_identity.json"
ROOM = 1 << 14
"""For a quote, at first."""


class QeFunction(enum.IntEnum):
    """enum qe_function."""

    GET_TARGETINFO = 0
    QUOTE = 1


class QeOcall(enum.IntEnum):
    """enum qe_ocall."""

    PCE_INFO = 0
    CERTIFY = 1


class QeError(enum.IntEnum):
    """enum qe_error."""

    OK = 0
    INVALID_PARAMETER = 1
    INVALID_REPORT = 2
    INVALID_KEY = 3
    NOT_CERTIFIED = 4
    BUFFER_TOO_SMALL = 5
    FAILED = 6


class Platform:
    """QE and PCE of a process; each is loaded when it is first needed.

    Images are enclu's own by default; `pce` may be Intel's.  `on_exception` is for both, as `Process.load` has it.
    """

    def __init__(
        self, process: EnclaveProcess, *, qe: Image | None = None, pce: Image | None = None,
        on_exception: Callable[[EnclaveException], Action] | None = None,
    ) -> None:  # fmt: skip
        self.process = process
        self.manufacturer = Manufacturer(process.machine.secret)
        self._images = {"qe": qe, "pce": pce}
        self._on_exception = on_exception
        self._enclaves: dict[str, Enclave] = {}
        self._lock = threading.RLock()
        self._chain: tuple[int, int] | None = None
        self._key = b""

    @staticmethod
    def of(process: EnclaveProcess) -> Platform:
        """The process's own; made when it is first asked for."""
        with _LOCK:
            platform = _PLATFORMS.get(process)
            if platform is None:
                platform = _PLATFORMS[process] = Platform(process)
            return platform

    @property
    def qe(self) -> Enclave:
        """The quoting enclave."""
        return self._loaded("qe")

    @property
    def pce(self) -> Enclave:
        """The certification enclave."""
        return self._loaded("pce")

    def target_info(self) -> bytes:
        """With which an enclave reports to the QE."""
        return target_info(self.qe)

    def quote(self, report: bytes) -> bytes:
        """The quote of an enclave that has made this REPORT for the QE.  Raises AttestationError."""
        if len(report) != REPORT.size:
            raise AttestationError(f"the report has {len(report)} bytes; a REPORT has {REPORT.size}")
        with self._lock:
            self._key = self._key or self._kept_key()
            if not self._key:  # the first has one made, and others wait for it
                return self._quote(report)
        return self._quote(report)

    def _quote(self, report: bytes) -> bytes:
        error, quote, key = self._make_quote(report, self._key)
        if error == QeError.INVALID_KEY:  # of another QE: another signer, or another machine
            error, quote, key = self._make_quote(report, b"")
        if error:
            raise AttestationError(f"the quoting enclave refuses: {QeError(error).name}")
        if key != self._key:
            self._key = key
            self._keep_key()
        return quote

    def _loaded(self, name: str) -> Enclave:
        with self._lock:
            enclave = self._enclaves.get(name)
            if enclave is None:
                ocalls = {QeOcall.PCE_INFO: self._pce_info, QeOcall.CERTIFY: self._certify} if name == "qe" else {}
                image = self._images[name] or architectural.image(name)
                enclave = self.process.load(image, ocalls=ocalls, on_exception=self._on_exception)
                self._enclaves[name] = enclave
            return enclave

    def _make_quote(self, report: bytes, key: bytes) -> tuple[int, bytes, bytes]:
        """The QE's error, the quote, and the sealed attestation key."""
        memory, room = self.process.memory, ROOM
        while True:
            with memory.temporary(room) as buffer:
                request = bytearray(
                    QE_REQUEST.pack(report=report, key=key, key_size=len(key), quote_size=room, quote=buffer)
                )
                error = self.qe.ecall(QeFunction.QUOTE, request)
                found = QE_REQUEST.unpack(request)
                if error != QeError.BUFFER_TOO_SMALL or found["quote_size"] <= room:
                    quote = b"" if error else memory.read(buffer, found["quote_size"])
                    return error, quote, found["key"][: found["key_size"]]
                room, key = found["quote_size"], found["key"][: found["key_size"]]

    # The OCALLs of the QE: `at` is a struct qe_certification.

    def _pce_info(self, at: int) -> int:
        info = certifier(self.pce).info()
        image = PCE_INFO.pack(target=info.target, pce_svn=info.svn, pce_id=info.pceid)
        self.process.memory.write(at + QE_CERTIFICATION.offset("pce"), image)
        return 0

    def _certify(self, at: int) -> int:
        memory, start = self.process.memory, at + QE_CERTIFICATION.offset("qe")
        asked = PCE_CERTIFICATION.unpack(memory.read(start, PCE_CERTIFICATION.size))
        signature = certifier(self.pce).certify(asked["report"], asked["cpusvn"], asked["pce_svn"])
        memory.write(start + PCE_CERTIFICATION.offset("signature"), signature)
        address, size = self._certificates()
        tail = QE_CERTIFICATION.pack(type=CertificationType.PCK_CHAIN, size=size, data=address)
        rest = QE_CERTIFICATION.offset("type")
        memory.write(at + rest, tail[rest:])
        return 0

    def _certificates(self) -> tuple[int, int]:
        """Address and size of the PCK certificate chain."""
        with self._lock:
            if self._chain is None:
                chain = self.manufacturer.chain(product(self.pce.image))
                self._chain = self.process.memory.allocate(len(chain)), len(chain)
                self.process.memory.write(self._chain[0], chain)
            return self._chain

    # The attestation key, sealed.

    def _kept_key(self) -> bytes:
        name = self.process.machine.name
        if name is None:
            return b""
        try:
            key = files.read_own(architectural.key_file(name), SEALED_KEY)
        except (FileNotFoundError, files.TooLarge):
            return b""
        except OSError as error:
            raise HostError(f"{error.filename}: {error.strerror}") from None
        return key if len(key) == SEALED_KEY else b""

    def _keep_key(self) -> None:
        name = self.process.machine.name
        if name is None:
            return
        try:
            directories.replace(architectural.key_file(name), self._key)
        except OSError as error:
            raise HostError(f"{error.filename}: {error.strerror}") from None


def product(image: Image) -> Product:
    """QE or PCE, by its image."""
    assert image.sigstruct is not None
    f = SIGSTRUCT.unpack(image.sigstruct)
    attributes = image.attributes | Attribute.INIT
    return Product(mrsigner(image.sigstruct), attributes, image.misc_select, f["ISVPRODID"], f["ISVSVN"])


def collateral_files(manufacturer: Manufacturer, at: datetime.datetime) -> dict[str, bytes]:
    """What a verifier of the machine's quotes needs, by file name.  Raises HostError."""
    qe, pce = product(architectural.image("qe")), product(architectural.image("pce"))
    return {
        ROOT_FILE: pem(manufacturer.root),
        SIGNING_CHAIN_FILE: pem(manufacturer.tcb_signing, manufacturer.root),
        TCB_INFO_FILE: manufacturer.tcb_info(pce, at),
        QE_IDENTITY_FILE: manufacturer.qe_identity(qe, at),
    }


_PLATFORMS: weakref.WeakKeyDictionary[EnclaveProcess, Platform] = weakref.WeakKeyDictionary()
_LOCK = threading.Lock()
