"""The structures and enumerations of SGX, in the order and spelling of SDM volume 3D chapter 35."""

from __future__ import annotations

import enum

from enclu.sgx.layout import Structure

ENCLU = b"\x0f\x01\xd7"
"""The instruction."""


class EncluLeaf(enum.IntEnum):
    """ENCLU leaves (SDM 3D table 38-2)."""

    EREPORT = 0
    EGETKEY = 1
    EENTER = 2
    ERESUME = 3
    EEXIT = 4
    EACCEPT = 5
    EMODPE = 6
    EACCEPTCOPY = 7
    EDECCSSA = 9


class ErrorCode(enum.IntEnum):
    """Error codes that leaves return in RAX (SDM 3D table 38-4)."""

    SUCCESS = 0
    SGX_INVALID_SIG_STRUCT = 1
    SGX_INVALID_ATTRIBUTE = 2
    SGX_BLKSTATE = 3
    SGX_INVALID_MEASUREMENT = 4
    SGX_NOTBLOCKABLE = 5
    SGX_PG_INVLD = 6
    SGX_EPC_PAGE_CONFLICT = 7
    SGX_INVALID_SIGNATURE = 8
    SGX_MAC_COMPARE_FAIL = 9
    SGX_PAGE_NOT_BLOCKED = 10
    SGX_NOT_TRACKED = 11
    SGX_VA_SLOT_OCCUPIED = 12
    SGX_CHILD_PRESENT = 13
    SGX_ENCLAVE_ACT = 14
    SGX_ENTRYEPOCH_LOCKED = 15
    SGX_INVALID_EINITTOKEN = 16
    SGX_PREV_TRK_INCMPL = 17
    SGX_PG_IS_SECS = 18
    SGX_PAGE_ATTRIBUTES_MISMATCH = 19
    SGX_PAGE_NOT_MODIFIABLE = 20
    SGX_PAGE_NOT_DEBUGGABLE = 21
    SGX_INSUFFICIENT_ENTROPY = 29
    SGX_EPC_NOT_READY = 30
    SGX_NO_UPDATE = 31
    SGX_INVALID_CPUSVN = 32
    SGX_INVALID_ISVSVN = 64
    SGX_UNMASKED_EVENT = 128
    SGX_INVALID_KEYNAME = 256


def _all_others(flags: enum.IntFlag) -> int:
    """`~`, for fields with bits that have no name: Python's own forgets those above the highest that has one."""
    return ~int(flags)


class Attribute(enum.IntFlag):
    """ATTRIBUTES.FLAGS (SDM 3D table 35-3)."""

    __invert__ = _all_others  # type: ignore[assignment]

    INIT = 1 << 0
    DEBUG = 1 << 1
    MODE64BIT = 1 << 2
    PROVISIONKEY = 1 << 4
    EINITTOKEN_KEY = 1 << 5
    CET = 1 << 6
    KSS = 1 << 7
    AEXNOTIFY = 1 << 10


MISC_EXINFO = 1 << 0
"""MISCSELECT.EXINFO: AEX reports #PF and #GP (SDM 3D table 35-5)."""


class SecinfoFlag(enum.IntFlag):
    """SECINFO.FLAGS (SDM 3D table 35-12); bits 15:8 are the page type."""

    __invert__ = _all_others  # type: ignore[assignment]

    R = 1 << 0
    W = 1 << 1
    X = 1 << 2
    PENDING = 1 << 3
    MODIFIED = 1 << 4
    PR = 1 << 5


class KeyName(enum.IntEnum):
    """KEYREQUEST.KEYNAME (SDM 3D table 35-29)."""

    EINITTOKEN_KEY = 0
    PROVISION_KEY = 1
    PROVISION_SEAL_KEY = 2
    REPORT_KEY = 3
    SEAL_KEY = 4


class KeyPolicy(enum.IntFlag):
    """KEYREQUEST.KEYPOLICY (SDM 3D table 35-28)."""

    __invert__ = _all_others  # type: ignore[assignment]

    MRENCLAVE = 1 << 0
    MRSIGNER = 1 << 1
    NOISVPRODID = 1 << 2
    CONFIGID = 1 << 3
    ISVFAMILYID = 1 << 4
    ISVEXTPRODID = 1 << 5


TCS_DBGOPTIN = 1 << 0
TCS_AEXNOTIFY = 1 << 1
"""TCS.FLAGS (SDM 3D section 35.8)."""

SECS = Structure(
    "SECS", 4096,
    (0, "SIZE", "Q"), (8, "BASEADDR", "Q"), (16, "SSAFRAMESIZE", "I"), (20, "MISCSELECT", "I"),
    (24, "CET_LEG_BITMAP_OFFSET", "Q"), (32, "CET_ATTRIBUTES", "B"),
    (48, "ATTRIBUTES", "Q"), (56, "XFRM", "Q"), (64, "MRENCLAVE", "32s"), (128, "MRSIGNER", "32s"),
    (192, "CONFIGID", "64s"), (256, "ISVPRODID", "H"), (258, "ISVSVN", "H"), (260, "CONFIGSVN", "H"),
)  # fmt: skip
TCS = Structure(
    "TCS", 4096,
    (0, "STATE", "Q"), (8, "FLAGS", "Q"), (16, "OSSA", "Q"), (24, "CSSA", "I"), (28, "NSSA", "I"),
    (32, "OENTRY", "Q"), (40, "AEP", "Q"), (48, "OFSBASE", "Q"), (56, "OGSBASE", "Q"),
    (64, "FSLIMIT", "I"), (68, "GSLIMIT", "I"),
)  # fmt: skip
GPR_NAMES = (
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
)  # fmt: skip
GPRSGX = Structure(
    "GPRSGX", 184,
    *((8 * i, n.upper(), "Q") for i, n in enumerate(GPR_NAMES)),
    (128, "RFLAGS", "Q"), (136, "RIP", "Q"), (144, "URSP", "Q"), (152, "URBP", "Q"), (160, "EXITINFO", "I"),
    (167, "AEXNOTIFY", "B"), (168, "FSBASE", "Q"), (176, "GSBASE", "Q"),
)  # fmt: skip
EXITINFO_VALID = 1 << 31
EXITINFO_VECTOR = 0xFF
EXITINFO_HARDWARE, EXITINFO_SOFTWARE = 3 << 8, 6 << 8
EXINFO = Structure("EXINFO", 16, (0, "MADDR", "Q"), (8, "ERRCD", "I"))
PAGEINFO = Structure("PAGEINFO", 32, (0, "LINADDR", "Q"), (8, "SRCPGE", "Q"), (16, "SECINFO", "Q"), (24, "SECS", "Q"))
SECINFO = Structure("SECINFO", 64, (0, "FLAGS", "Q"))
PCMD = Structure("PCMD", 128, (0, "SECINFO", "64s"), (64, "ENCLAVEID", "Q"), (112, "MAC", "16s"))
SIGSTRUCT = Structure(
    "SIGSTRUCT", 1808,
    (0, "HEADER", "16s"), (16, "VENDOR", "I"), (20, "DATE", "I"), (24, "HEADER2", "16s"), (40, "SWDEFINED", "I"),
    (128, "MODULUS", "384s"), (512, "EXPONENT", "I"), (516, "SIGNATURE", "384s"),
    (900, "MISCSELECT", "I"), (904, "MISCMASK", "I"), (908, "CET_ATTRIBUTES", "B"), (909, "CET_ATTRIBUTES_MASK", "B"),
    (912, "ISVFAMILYID", "16s"), (928, "ATTRIBUTES", "Q"), (936, "XFRM", "Q"),
    (944, "ATTRIBUTEMASK", "Q"), (952, "XFRMMASK", "Q"), (960, "ENCLAVEHASH", "32s"),
    (1008, "ISVEXTPRODID", "16s"), (1024, "ISVPRODID", "H"), (1026, "ISVSVN", "H"),
    (1040, "Q1", "384s"), (1424, "Q2", "384s"),
)  # fmt: skip
SIGSTRUCT_HEADER = bytes.fromhex("06000000e10000000000010000000000")
SIGSTRUCT_HEADER2 = bytes.fromhex("01010000600000006000000001000000")
SIGSTRUCT_SIGNED = ((0, 128), (900, 1028))
"""Byte ranges of SIGSTRUCT that the signature covers."""
TARGETINFO = Structure(
    "TARGETINFO", 512,
    (0, "MEASUREMENT", "32s"), (32, "ATTRIBUTES", "Q"), (40, "XFRM", "Q"), (48, "CET_ATTRIBUTES", "B"),
    (50, "CONFIGSVN", "H"), (52, "MISCSELECT", "I"), (64, "CONFIGID", "64s"),
)  # fmt: skip
REPORT = Structure(
    "REPORT", 432,
    (0, "CPUSVN", "16s"), (16, "MISCSELECT", "I"), (20, "CET_ATTRIBUTES", "B"), (32, "ISVEXTPRODID", "16s"),
    (48, "ATTRIBUTES", "Q"), (56, "XFRM", "Q"), (64, "MRENCLAVE", "32s"), (128, "MRSIGNER", "32s"),
    (192, "CONFIGID", "64s"), (256, "ISVPRODID", "H"), (258, "ISVSVN", "H"), (260, "CONFIGSVN", "H"),
    (304, "ISVFAMILYID", "16s"), (320, "REPORTDATA", "64s"), (384, "KEYID", "32s"), (416, "MAC", "16s"),
)  # fmt: skip
REPORT_MACED = 384
"""Bytes of REPORT that its MAC covers."""
KEYREQUEST = Structure(
    "KEYREQUEST", 512,
    (0, "KEYNAME", "H"), (2, "KEYPOLICY", "H"), (4, "ISVSVN", "H"), (6, "CET_ATTRIBUTES_MASK", "B"),
    (8, "CPUSVN", "16s"), (24, "ATTRIBUTEMASK", "Q"), (32, "XFRMMASK", "Q"), (40, "KEYID", "32s"),
    (72, "MISCMASK", "I"), (76, "CONFIGSVN", "H"),
)  # fmt: skip
