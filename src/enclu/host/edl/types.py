"""C types as ctypes has them, which lays structures out by the System V ABI as gcc does.

Types that only a C header defines are known by a table for the SDK's own, by what the caller says, or by asking the
C compiler about the headers that the EDL file includes (headers.py).
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import Any

from enclu.host.edl import headers
from enclu.host.edl.declarations import Declarations
from enclu.host.edl.syntax import Composite, CType, EdlError, Enumeration, Kind, Position, Variable

Type = type[Any]
"""A class of ctypes."""

POINTER = ctypes.c_uint64
"""Addresses are integers: they are another process's."""


class Int128(ctypes.Structure):
    """__int128, which ctypes does not have: an int in Python.  System V ABI: 16 bytes, aligned to 16."""

    _fields_ = (("data", ctypes.c_longdouble),)
    signed = True

    @classmethod
    def of(cls, value: int) -> Int128:
        """Raises ValueError for a number that does not fit."""
        try:
            return cls.from_buffer_copy(value.to_bytes(16, "little", signed=cls.signed))
        except OverflowError:
            raise ValueError(f"{value} does not fit into 16 bytes") from None

    def __int__(self) -> int:
        return int.from_bytes(bytes(self), "little", signed=self.signed)


class UnsignedInt128(Int128):
    """unsigned __int128."""

    signed = False


_BUILTIN: dict[str, Type] = {
    "char": ctypes.c_byte, "unsigned char": ctypes.c_ubyte, "short": ctypes.c_short,
    "unsigned short": ctypes.c_ushort, "int": ctypes.c_int, "unsigned int": ctypes.c_uint, "long": ctypes.c_long,
    "unsigned long": ctypes.c_ulong, "long long": ctypes.c_longlong, "unsigned long long": ctypes.c_ulonglong,
    "float": ctypes.c_float, "double": ctypes.c_double, "long double": ctypes.c_longdouble,
    "size_t": ctypes.c_size_t, "wchar_t": ctypes.c_int, "int8_t": ctypes.c_int8, "int16_t": ctypes.c_int16,
    "int32_t": ctypes.c_int32, "int64_t": ctypes.c_int64, "uint8_t": ctypes.c_uint8, "uint16_t": ctypes.c_uint16,
    "uint32_t": ctypes.c_uint32, "uint64_t": ctypes.c_uint64,
}  # fmt: skip

_LIBC: dict[str, Type] = {
    "bool": ctypes.c_bool, "_Bool": ctypes.c_bool, "uintptr_t": ctypes.c_uint64, "intptr_t": ctypes.c_int64,
    "ssize_t": ctypes.c_ssize_t, "ptrdiff_t": ctypes.c_int64, "off_t": ctypes.c_int64, "off64_t": ctypes.c_int64,
    "time_t": ctypes.c_int64, "clock_t": ctypes.c_int64, "clockid_t": ctypes.c_int, "mode_t": ctypes.c_uint32,
    "pid_t": ctypes.c_int32, "uid_t": ctypes.c_uint32, "gid_t": ctypes.c_uint32, "dev_t": ctypes.c_uint64,
    "ino_t": ctypes.c_uint64, "nlink_t": ctypes.c_uint64, "socklen_t": ctypes.c_uint32,
    "sa_family_t": ctypes.c_uint16, "in_addr_t": ctypes.c_uint32, "in_port_t": ctypes.c_uint16,
    "nfds_t": ctypes.c_ulong, "pthread_t": ctypes.c_ulong, "errno_t": ctypes.c_int, "suseconds_t": ctypes.c_int64,
    "useconds_t": ctypes.c_uint32, "uint": ctypes.c_uint, "ulong": ctypes.c_ulong, "ushort": ctypes.c_ushort,
    "byte": ctypes.c_uint8, "BYTE": ctypes.c_uint8, "__int128_t": Int128, "__uint128_t": UnsignedInt128,
}  # fmt: skip

_SDK: dict[str, Type] = {
    "sgx_status_t": ctypes.c_uint32, "quote3_error_t": ctypes.c_uint32, "sgx_enclave_id_t": ctypes.c_uint64,
    "sgx_ra_context_t": ctypes.c_uint32, "sgx_misc_select_t": ctypes.c_uint32, "sgx_prod_id_t": ctypes.c_uint16,
    "sgx_isv_svn_t": ctypes.c_uint16, "sgx_config_svn_t": ctypes.c_uint16, "sgx_quote_sign_type_t": ctypes.c_uint32,
    "sgx_dh_session_role_t": ctypes.c_uint32, "sgx_ra_key_type_t": ctypes.c_uint32,
    "sgx_ql_qv_result_t": ctypes.c_uint32, "sgx_thread_t": ctypes.c_uint64, "sgx_ecc_state_handle_t": ctypes.c_uint64,
    "sgx_sha_state_handle_t": ctypes.c_uint64, "sgx_aes_state_handle_t": ctypes.c_uint64,
}  # fmt: skip

# Structures of the SDK's headers: size and alignment.
_SDK_STRUCTURES: dict[str, tuple[int, int]] = {
    "sgx_report_t": (432, 8), "sgx_report_body_t": (384, 8), "sgx_report_data_t": (64, 1),
    "sgx_target_info_t": (512, 8), "sgx_measurement_t": (32, 1), "sgx_attributes_t": (16, 8),
    "sgx_misc_attribute_t": (24, 8), "sgx_cpu_svn_t": (16, 1), "sgx_config_id_t": (64, 1), "sgx_key_id_t": (32, 1),
    "sgx_key_128bit_t": (16, 1), "sgx_key_request_t": (512, 8), "sgx_mac_t": (16, 1),
    "sgx_isvext_prod_id_t": (16, 1), "sgx_isvfamily_id_t": (16, 1), "sgx_quote_nonce_t": (16, 1),
    "sgx_spid_t": (16, 1), "sgx_epid_group_id_t": (4, 1), "sgx_quote_t": (436, 1), "sgx_basename_t": (32, 1),
    "sgx_update_info_bit_t": (12, 1), "sgx_platform_info_t": (101, 1), "sgx_dh_msg1_t": (576, 1),
    "sgx_dh_msg2_t": (512, 1), "sgx_dh_msg3_t": (452, 1), "sgx_dh_session_t": (200, 1),
    "sgx_dh_session_enclave_identity_t": (260, 1), "sgx_ra_key_128_t": (16, 1), "sgx_ra_msg1_t": (68, 1),
    "sgx_ra_msg2_t": (168, 4), "sgx_ra_msg3_t": (336, 1), "sgx_ps_sec_prop_desc_t": (256, 1),
    "sgx_ec256_public_t": (64, 1), "sgx_ec256_private_t": (32, 1), "sgx_ec256_signature_t": (64, 4),
    "sgx_ec256_dh_shared_t": (32, 1), "sgx_sha1_hash_t": (20, 1), "sgx_sha256_hash_t": (32, 1),
    "sgx_sha384_hash_t": (48, 1), "sgx_aes_gcm_128bit_key_t": (16, 1), "sgx_aes_gcm_128bit_tag_t": (16, 1),
    "sgx_cmac_128bit_key_t": (16, 1), "sgx_cmac_128bit_tag_t": (16, 1), "sgx_aes_ctr_128bit_key_t": (16, 1),
    "sgx_rsa3072_public_key_t": (388, 1), "sgx_rsa3072_key_t": (772, 1), "sgx_rsa3072_signature_t": (384, 1),
    "sgx_hmac_256bit_tag_t": (32, 1), "sgx_sealed_data_t": (560, 8), "sgx_aes_gcm_data_t": (32, 4),
    "sgx_ec_key_128bit_t": (16, 1), "sgx_thread_mutex_t": (40, 8), "sgx_thread_cond_t": (24, 8),
    "sgx_ql_qe_report_info_t": (960, 8), "qae_verification_input_t": (72, 8),
}  # fmt: skip

_SCALARS: dict[str, Type] = {
    "_Bool": ctypes.c_bool, "signed char": ctypes.c_byte, "__int128": Int128, "unsigned __int128": UnsignedInt128,
    "pointer": POINTER, **{name: made for name, made in _BUILTIN.items() if name in headers.SCALARS},
}  # fmt: skip
"""What headers have other names for."""

_UNITS: dict[int, Type] = {1: ctypes.c_uint8, 2: ctypes.c_uint16, 4: ctypes.c_uint32, 8: ctypes.c_uint64}


def opaque(name: str, size: int, align: int) -> Type:
    """A structure of which only size and alignment are known."""
    if align >= 16:  # ctypes has nothing of more than long double's
        fields: list[tuple[str, Type]] = [("data", ctypes.c_longdouble * (size // 16))]
    else:
        fields = [("data", _UNITS[align] * (size // align))]
    return type(name, (ctypes.Structure,), {"_fields_": fields})


class Types:
    """The types of one interface.  `foreign` says what typedefs of C headers are: classes of ctypes, or sizes."""

    def __init__(self, interface: Declarations, foreign: Mapping[str, Type | int] | None = None) -> None:
        self.interface = interface
        self._composites = {composite.name: composite for composite in interface.composites}
        self._made: dict[str, Type] = {}
        self._under_way: set[str] = set()
        self._foreign: dict[str, Type] = {**_LIBC, **_SDK}
        for name, (size, align) in _SDK_STRUCTURES.items():
            self._foreign[name] = opaque(name, size, align)
        for name, given in (foreign or {}).items():
            self._foreign[name] = opaque(name, given, 8 if given % 8 == 0 else 1) if isinstance(given, int) else given
        self._answer: headers.Answer | None = None
        """The C compiler's, once it has been asked."""

    def of(self, type: CType, position: Position | None = None) -> Type:
        """The class for a type.  Raises EdlError for one that nobody knows."""
        if type.pointers:
            return POINTER
        if type.kind is Kind.BUILTIN:
            if type.name == "void":
                return ctypes.c_char  # as gcc has it: sizeof(void) is 1
            return _BUILTIN[type.name]
        if type.kind is Kind.ENUM:
            return ctypes.c_uint32
        return self._composite(type.name, position) or self._header_type(type, position)

    def array(self, variable: Variable) -> Type:
        """The class for what a variable is within a structure: an array is one there."""
        made = self.of(variable.type, variable.position)
        for dimension in reversed(variable.dimensions):
            made = made * dimension
        return made

    def _composite(self, name: str, position: Position | None) -> Type | None:
        if name in self._made:
            return self._made[name]
        composite = self._composites.get(name)
        if isinstance(composite, Enumeration):
            return ctypes.c_uint32
        if not isinstance(composite, Composite):
            return None
        if name in self._under_way:
            raise EdlError(composite.position or position or "", f"`{name}' contains itself")
        base: Type = ctypes.Union if composite.kind is Kind.UNION else ctypes.Structure
        self._under_way.add(name)
        try:
            fields = [(member.name, self.array(member)) for member in composite.members]
        finally:
            self._under_way.remove(name)
        made = type(name, (base,), {"_fields_": fields})
        self._made[name] = made
        return made

    def _header_type(self, type: CType, position: Position | None) -> Type:
        found = self._foreign.get(type.name)
        if found is None and self._answer is None:
            self._answer = headers.ask(self.interface, self._unknown())
            for name, asked in self._answer.types.items():
                scalar = _SCALARS[asked.scalar] if asked.scalar else None
                self._foreign[name] = scalar or opaque(name, asked.size, asked.align)
            found = self._foreign.get(type.name)
        if found is None:
            assert self._answer is not None
            raise EdlError(
                position or self.interface.path,
                f"how large `{type}' is, no EDL file says, and no header that is here: give it as a type"
                + "".join(f"; {complaint}" for complaint in self._answer.complaints),
            )
        return found

    def _unknown(self) -> list[CType]:
        """Types of C headers that are used and not known."""
        functions = (*self.interface.ecalls, *self.interface.ocalls)
        variables = [variable for function in functions for variable in function.parameters]
        for composite in self.interface.composites:
            variables += composite.members if isinstance(composite, Composite) else ()
        used = [variable.type for variable in variables] + [function.returns for function in functions]
        types = dict.fromkeys(
            CType(type.name, type.kind) for type in used if type.kind not in (Kind.BUILTIN, Kind.ENUM)
        )
        return [type for type in types if type.name not in self._foreign and type.name not in self._composites]
