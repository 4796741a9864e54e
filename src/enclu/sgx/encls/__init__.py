"""The supervisor leaves of SGX (ENCLS), one function a leaf.  SDM 3D section 38.3.

Operands that are addresses on hardware are objects here: an `EPCPage` for the page in RCX, a `Secs` for PAGEINFO.SECS.
A leaf raises `Fault` where hardware faults and returns the error code that hardware leaves in RAX.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from enclu.base import late

if TYPE_CHECKING:
    from enclu.sgx.encls.create import eadd, eadd_run, ecreate, eextend
    from enclu.sgx.encls.debug import edbgrd, edbgwr
    from enclu.sgx.encls.init import einit, einit_refusal
    from enclu.sgx.encls.modify import eaug, emodpr, emodt, eremove, eremove_untouched
    from enclu.sgx.encls.paging import as_loaded, eblock, eldu, eldu_run, epa, etrack, ewb, ewb_run
    from enclu.sgx.encls.svn import eupdatesvn
else:
    _MODULES = {
        "create": "eadd eadd_run ecreate eextend",
        "debug": "edbgrd edbgwr",
        "init": "einit einit_refusal",
        "modify": "eaug emodpr emodt eremove eremove_untouched",
        "paging": "as_loaded eblock eldu eldu_run epa etrack ewb ewb_run",
        "svn": "eupdatesvn",
    }
    __getattr__ = late.names(__name__, _MODULES)

__all__ = [
    "as_loaded", "eadd", "eadd_run", "eaug", "eblock", "ecreate", "edbgrd", "edbgwr", "eextend", "einit",
    "einit_refusal", "eldu", "eldu_run", "emodpr", "emodt", "epa", "eremove", "eremove_untouched", "etrack",
    "eupdatesvn", "ewb", "ewb_run",
]  # fmt: skip
