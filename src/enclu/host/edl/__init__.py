"""EDL files: what an SDK enclave's ECALLs and OCALLs are called, take and give."""

from enclu.host.edl import stubs
from enclu.host.edl.interface import Interface, load, parse
from enclu.host.edl.syntax import EdlError

__all__ = ["EdlError", "Interface", "load", "parse", "stubs"]
