"""The EDL files that Intel's SDK, SGXSSL and DCAP bring and enclaves import, as tables of names and signatures.

They are not with the users' files, and the numbers of the functions depend on them.  A file of that name found in the
search path goes first.  Where releases differ, each variant says up to which release of the SDK it holds.
"""

from __future__ import annotations

Release = tuple[int, int]
NEWEST: Release = (99, 0)

_CPUID_AND_EVENTS = """
    [cdecl] void sgx_oc_cpuidex([out] int cpuinfo[4], int leaf, int subleaf);
    [cdecl] int sgx_thread_wait_untrusted_event_ocall([user_check] const void* self);
    [cdecl] int sgx_thread_set_untrusted_event_ocall([user_check] const void* waiter);
    [cdecl] int sgx_thread_setwait_untrusted_events_ocall(
        [user_check] const void* waiter, [user_check] const void* self);
    [cdecl] int sgx_thread_set_multiple_untrusted_events_ocall([in, count=total] const void** waiters, size_t total);
"""

_THREADS = """
    [cdecl] int pthread_wait_timeout_ocall(unsigned long long waiter, unsigned long long timeout);
    [cdecl] int pthread_create_ocall(unsigned long long self);
    [cdecl] int pthread_wakeup_ocall(unsigned long long waiter);
"""

_PLATFORM_SERVICES = """
    sgx_status_t create_session_ocall(
        [out] uint32_t* sid, [out, size=dh_msg1_size] uint8_t* dh_msg1, uint32_t dh_msg1_size, uint32_t timeout);
    sgx_status_t exchange_report_ocall(
        uint32_t sid, [in, size=dh_msg2_size] uint8_t* dh_msg2, uint32_t dh_msg2_size,
        [out, size=dh_msg3_size] uint8_t* dh_msg3, uint32_t dh_msg3_size, uint32_t timeout);
    sgx_status_t close_session_ocall(uint32_t sid, uint32_t timeout);
    sgx_status_t invoke_service_ocall(
        [in, size=pse_message_req_size] uint8_t* pse_message_req, uint32_t pse_message_req_size,
        [out, size=pse_message_resp_size] uint8_t* pse_message_resp, uint32_t pse_message_resp_size,
        uint32_t timeout);
"""

_PROTECTED_FILES_BY_NODE = """
    void* u_sgxprotectedfs_exclusive_file_open(
        [in, string] const char* filename, uint8_t read_only, [out] int64_t* file_size, [out] int32_t* error_code);
    uint8_t u_sgxprotectedfs_check_if_file_exists([in, string] const char* filename);
    int32_t u_sgxprotectedfs_fread_node(
        [user_check] void* f, uint64_t node_number, [out, size=node_size] uint8_t* buffer, uint32_t node_size);
    int32_t u_sgxprotectedfs_fwrite_node(
        [user_check] void* f, uint64_t node_number, [in, size=node_size] uint8_t* buffer, uint32_t node_size);
    int32_t u_sgxprotectedfs_fclose([user_check] void* f);
    uint8_t u_sgxprotectedfs_fflush([user_check] void* f);
    int32_t u_sgxprotectedfs_remove([in, string] const char* filename);
    void* u_sgxprotectedfs_recovery_file_open([in, string] const char* filename);
    uint8_t u_sgxprotectedfs_fwrite_recovery_node(
        [user_check] void* f, [in, count=data_length] uint8_t* data, uint32_t data_length);
    int32_t u_sgxprotectedfs_do_file_recovery(
        [in, string] const char* filename, [in, string] const char* recovery_filename, uint32_t node_size);
"""

_PROTECTED_FILES_MAPPED = """
    int8_t u_sgxprotectedfs_check_if_file_exists([in, string] const char* filename);
    uint8_t* u_sgxprotectedfs_exclusive_file_map(
        [in, string] const char* filename, uint8_t read_only, [out] int64_t* file_size, [out] int32_t* error_code);
    int32_t u_sgxprotectedfs_file_remap(
        [in, string] const char* filename, [in, out] uint8_t** file_addr, int64_t old_size, int64_t new_size);
    int32_t u_sgxprotectedfs_file_unmap([user_check] uint8_t* file_addr, int64_t file_size);
    int32_t u_sgxprotectedfs_remove([in, string] const char* filename);
    uint8_t u_sgxprotectedfs_fwrite_recovery_file(
        [user_check] uint8_t* fileaddress, [in, string] const char* filename,
        [in, count=length] uint64_t* recovery_list, uint64_t length);
    int32_t u_sgxprotectedfs_do_file_recovery(
        [in, string] const char* filename, [in, string] const char* recovery_filename);
"""

_KEY_EXCHANGE = """
    public sgx_status_t sgx_ra_get_ga(sgx_ra_context_t context, [out] sgx_ec256_public_t* g_a);
    public sgx_status_t sgx_ra_proc_msg2_trusted(
        sgx_ra_context_t context, [in] const sgx_ra_msg2_t* p_msg2, [in] const sgx_target_info_t* p_qe_target,
        [out] sgx_report_t* p_report, [out] sgx_quote_nonce_t* p_nonce);
    public sgx_status_t sgx_ra_get_msg3_trusted(
        sgx_ra_context_t context, uint32_t quote_size, [in] sgx_report_t* qe_report,
        [user_check] sgx_ra_msg3_t* p_msg3, uint32_t msg3_size);
"""

_SWITCHLESS = """
    public sgx_status_t sl_init_switchless([user_check] void* sl_data);
    public sgx_status_t sl_run_switchless_tworker();
"""

_ATTESTED_TLS = """
    quote3_error_t sgx_tls_get_qe_target_info_ocall(
        [out, size=target_info_size] sgx_target_info_t* p_target_info, size_t target_info_size);
    quote3_error_t sgx_tls_get_quote_size_ocall([out] uint32_t* p_quote_size);
    quote3_error_t sgx_tls_get_quote_ocall(
        [in, size=report_size] sgx_report_t* p_report, size_t report_size,
        [out, size=quote_size] uint8_t* p_quote, uint32_t quote_size);
    quote3_error_t sgx_tls_get_supplemental_data_size_ocall([out] uint32_t* p_supplemental_data_size);
    quote3_error_t sgx_tls_verify_quote_ocall(
        [in, size=quote_size] const uint8_t* p_quote, uint32_t quote_size, time_t expiration_check_date,
        [out] sgx_ql_qv_result_t* p_quote_verification_result,
        [in, out, size=qve_report_info_size] sgx_ql_qe_report_info_t* p_qve_report_info, size_t qve_report_info_size,
        [out, size=supplemental_data_size] uint8_t* p_supplemental_data, uint32_t supplemental_data_size);
"""


_QUOTE_VERIFICATION = """
    public quote3_error_t sgx_tvl_verify_qve_report_and_identity(
        [in, size=quote_size] const uint8_t* p_quote, uint32_t quote_size,
        [in, count=1] const sgx_ql_qe_report_info_t* p_qve_report_info, time_t expiration_check_date,
        uint32_t collateral_expiration_status, sgx_ql_qv_result_t quote_verification_result,
        [in, size=supplemental_data_size] const uint8_t* p_supplemental_data, uint32_t supplemental_data_size,
        sgx_isv_svn_t qve_isvsvn_threshold);
"""

_APPRAISAL = """
    public quote3_error_t tee_verify_qae_report_and_identity(
        [in, count=1] qae_verification_input_t* input, sgx_ql_qe_report_info_t qae_report_info,
        sgx_isv_svn_t qae_isvsvn_threshold);
"""

_SGXSSL = """
    void u_sgxssl_ftime([out, size=timeb_len] void* timeptr, uint32_t timeb_len);
"""


def _file(*imports: str, trusted: str = "", untrusted: str = "") -> str:
    lines = "".join(f'from "{name}" import *; ' for name in imports)
    return f"enclave {{ {lines} trusted {{ {trusted} }}; untrusted {{ {untrusted} }}; }};"


_FILES: dict[str, tuple[tuple[Release, str], ...]] = {
    "sgx_tstdc.edl": ((NEWEST, _file(untrusted=_CPUID_AND_EVENTS)),),
    "sgx_pthread.edl": ((NEWEST, _file(untrusted=_THREADS)),),
    "sgx_tae_service.edl": ((NEWEST, _file("sgx_tstdc.edl", untrusted=_PLATFORM_SERVICES)),),
    "sgx_tprotected_fs.edl": (
        ((2, 7), _file("sgx_tae_service.edl", untrusted=_PROTECTED_FILES_BY_NODE)),
        ((2, 22), _file("sgx_tstdc.edl", untrusted=_PROTECTED_FILES_BY_NODE)),
        (NEWEST, _file("sgx_tstdc.edl", "sgx_pthread.edl", untrusted=_PROTECTED_FILES_MAPPED)),
    ),
    "sgx_tkey_exchange.edl": ((NEWEST, _file(trusted=_KEY_EXCHANGE)),),
    "sgx_tswitchless.edl": ((NEWEST, _file(trusted=_SWITCHLESS)),),
    "sgx_ttls.edl": ((NEWEST, _file(untrusted=_ATTESTED_TLS)),),
    "sgx_dcap_tvl.edl": (
        ((2, 24), _file(trusted=_QUOTE_VERIFICATION)),
        (NEWEST, _file(trusted=_QUOTE_VERIFICATION + _APPRAISAL)),
    ),
    "sgx_tsgxssl.edl": ((NEWEST, _file("sgx_tstdc.edl", "sgxssl_file.edl", untrusted=_SGXSSL)),),
    "sgxssl_file.edl": ((NEWEST, _file()),),  # has functions in SGXSSL's builds for FIPS alone, which bring their own
}

NAMES = tuple(_FILES)

SERVED = {
    "sgx_oc_cpuidex": "cpuid",
    "sgx_thread_wait_untrusted_event_ocall": "wait",
    "sgx_thread_set_untrusted_event_ocall": "set",
    "sgx_thread_setwait_untrusted_events_ocall": "set_and_wait",
    "sgx_thread_set_multiple_untrusted_events_ocall": "set_multiple",
    "pthread_create_ocall": "create_thread",
    "pthread_wait_timeout_ocall": "wait_for",
    "pthread_wakeup_ocall": "wake",
}
"""OCALLs of theirs that are always served, and by which method (`conventions/sdk/ocalls.py`)."""


def text(name: str, release: Release | None = None) -> str | None:
    """The declarations of the SDK's file of that name, as a release has them, the newest if None."""
    variants = _FILES.get(name)
    if variants is None:
        return None
    return next(text for last, text in variants if (release or NEWEST) <= last)
