"""The conventions of Intel's SGX SDK."""

from enclu.host.conventions.sdk.convention import SdkConvention
from enclu.host.conventions.sdk.status import SdkError, SgxStatus

__all__ = ["SdkConvention", "SdkError", "SgxStatus"]
