"""The conventions of Intel's SGX SDK."""

from typing import TYPE_CHECKING

from enclu.base.lazy import attributes

if TYPE_CHECKING:
    from enclu.host.conventions.sdk.convention import SdkConvention
    from enclu.host.conventions.sdk.status import SdkError, SgxStatus

__all__ = ["SdkConvention", "SdkError", "SgxStatus"]

__getattr__ = attributes(__name__, {"SdkConvention": "convention", "SdkError": "status", "SgxStatus": "status"})
