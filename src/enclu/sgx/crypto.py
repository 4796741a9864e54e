"""The algorithms that the SDM names for keys, reports, measurements and evicted pages.

Here alone the libraries that have them are loaded, when the first is used: they take longer to load than most programs
to run, and most runs have no enclave.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import hashlib

    from cryptography.hazmat.primitives.ciphers.aead import AESGCM


def sha256(data: bytes = b"") -> hashlib._Hash:
    """SHA-256, begun with `data`."""
    import hashlib

    return hashlib.sha256(data)


def hmac_sha256(key: bytes, data: bytes) -> bytes:
    """HMAC-SHA-256."""
    import hashlib
    import hmac

    return hmac.digest(key, data, hashlib.sha256)


def cmac(key: bytes, data: bytes) -> bytes:
    """AES-128-CMAC."""
    from cryptography.hazmat.primitives.ciphers.algorithms import AES
    from cryptography.hazmat.primitives.cmac import CMAC

    mac = CMAC(AES(key))
    mac.update(data)
    return mac.finalize()


def aes_gcm(key: bytes) -> AESGCM:
    """AES-GCM under a key."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(key)


def opened(cipher: AESGCM, nonce: bytes, sealed: bytes, header: bytes) -> bytes | None:
    """What was sealed, with its tag behind it; None if anything has been changed since."""
    try:
        return cipher.decrypt(nonce, sealed, header)
    except _invalid_tag():  # looked up only then: this is done for each page that comes back
        return None


def _invalid_tag() -> type[Exception]:
    from cryptography.exceptions import InvalidTag

    return InvalidTag
