"""Numbers and structures between the SDK's untrusted and trusted runtimes (uRTS and tRTS).

SDK: common/inc/internal/rts_cmd.h, rts.h; psw/urts/linux/urts_emm.cpp.
"""

from __future__ import annotations

import ctypes
import enum


class EnterCommand(enum.IntEnum):
    """What the enclave is entered for, in RDI: an ECALL's number, or one of these."""

    ECMD_INIT_ENCLAVE = -1
    ECMD_ORET = -2
    ECMD_EXCEPT = -3
    ECMD_MKTCS = -4
    ECMD_UNINIT_ENCLAVE = -5
    ECMD_ECALL_PTHREAD = -6


OCMD_ERET = -1
"""In RDI after EEXIT: the ECALL is over, its status in RSI.  Other values are OCALLs' numbers."""


class BuiltinOcall(enum.IntEnum):
    """OCALLs that are in no table: memory management of enclaves whose metadata is of version 3."""

    EDMM_ALLOC = -6
    EDMM_MODIFY = -7


BUILTIN_OCALLS = range(-7, -1)
"""-2 to -5 were the memory management of SDK 2.0 to 2.16; loaders since then run those enclaves without it."""


class SdkVersion(enum.IntEnum):
    """system_features.version: not the SDK's release, but what the loader can do."""

    SDK_VERSION_1_5 = 0
    SDK_VERSION_3_0 = 5


FEATURES_EDMM = 1 << 0
FEATURES_AEX_NOTIFY = 1 << 1
FEATURES_EXTENDED = 1 << 62
"""`size` and what follows it are there."""
FEATURES_LAST = 1 << 63
"""The last element of system_feature_set."""


class SystemFeatures(ctypes.LittleEndianStructure):
    """system_features_t, the argument of ECMD_INIT_ENCLAVE.  Older tRTSes read less of it."""

    _pack_ = 1
    _fields_ = (
        ("cpu_features", ctypes.c_uint64),
        ("version", ctypes.c_uint32),
        ("system_feature_set", ctypes.c_uint64),
        ("cpuinfo_table", ctypes.c_uint32 * 4 * 8),
        ("sealed_key", ctypes.c_uint64),
        ("size", ctypes.c_uint64),
        ("cpu_features_ext", ctypes.c_uint64),
        ("cpu_core_num", ctypes.c_uint32),
    )


class EmmAlloc(ctypes.LittleEndianStructure):
    """ms_emm_alloc_ocall_t."""

    _fields_ = (
        ("retval", ctypes.c_int32),
        ("addr", ctypes.c_uint64),
        ("size", ctypes.c_uint64),
        ("page_properties", ctypes.c_uint32),
        ("alloc_flags", ctypes.c_uint32),
    )


class EmmModify(ctypes.LittleEndianStructure):
    """ms_emm_modify_ocall_t."""

    _fields_ = (
        ("retval", ctypes.c_int32),
        ("addr", ctypes.c_uint64),
        ("size", ctypes.c_uint64),
        ("flags_from", ctypes.c_uint32),
        ("flags_to", ctypes.c_uint32),
    )


def signed(value: int) -> int:
    """A 32-bit number as C's int."""
    value &= 0xFFFF_FFFF
    return value - (1 << 32) if value >> 31 else value


def string_lengths(release: tuple[int, int, int] | None) -> bool:
    """Whether ECALLs' structures have the lengths of strings, as since SDK 2.1.2, which calls itself 2.1.102.

    Builds from source have 2.1.3 for 2.1.3, and 2.1.42002 for 2.1.
    """
    if release is None or release[:2] != (2, 1):
        return release is None or release[:2] > (2, 1)
    return release[2] in (2, 3, 102, 103)
