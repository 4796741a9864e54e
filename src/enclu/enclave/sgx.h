/*
 * The leaves of ENCLU that enclaves use, and their structures.  SDM volume 3D.  The functions take structures of any
 * alignment, and use aligned copies.
 */
#ifndef ENCLU_ENCLAVE_SGX_H
#define ENCLU_ENCLAVE_SGX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum sgx_leaf { EREPORT = 0, EGETKEY = 1, EACCEPT = 5, EMODPE = 6, EACCEPTCOPY = 7, EDECCSSA = 9 };

/* RAX after the leaf with these operands: an error code, where the leaf has any. */
static inline uint64_t sgx_enclu(enum sgx_leaf leaf, const void *rbx, uint64_t rcx)
{
	uint64_t result = leaf;

	__asm__ volatile(".byte 0x0f, 0x01, 0xd7" : "+a"(result) : "b"(rbx), "c"(rcx) : "memory", "cc");
	return result;
}

enum { SGX_ATTRIBUTE_DEBUG = 2, SGX_ATTRIBUTE_PROVISIONKEY = 0x10 };

struct sgx_targetinfo {
	uint8_t mrenclave[32];
	uint64_t attributes, xfrm;
	uint8_t cet_attributes, reserved1;
	uint16_t configsvn;
	uint32_t miscselect;
	uint8_t reserved2[8], configid[64], reserved3[384];
};

/* What a REPORT's MAC, and a quote's signature, is of. */
struct sgx_report_body {
	uint8_t cpusvn[16];
	uint32_t miscselect;
	uint8_t cet_attributes, reserved1[11], isvextprodid[16];
	uint64_t attributes, xfrm;
	uint8_t mrenclave[32], reserved2[32], mrsigner[32], reserved3[32], configid[64];
	uint16_t isvprodid, isvsvn, configsvn;
	uint8_t reserved4[42], isvfamilyid[16], reportdata[64];
};

struct sgx_report {
	struct sgx_report_body body;
	uint8_t keyid[32], mac[16];
};

enum sgx_keyname { SGX_EINITTOKEN_KEY, SGX_PROVISION_KEY, SGX_PROVISION_SEAL_KEY, SGX_REPORT_KEY, SGX_SEAL_KEY };
enum { SGX_POLICY_MRENCLAVE = 1, SGX_POLICY_MRSIGNER = 2 };

struct sgx_keyrequest {
	uint16_t keyname, keypolicy, isvsvn;
	uint8_t cet_attributes_mask, reserved1, cpusvn[16];
	uint64_t attributemask, xfrmmask;
	uint8_t keyid[32];
	uint32_t miscmask;
	uint16_t configsvn;
	uint8_t reserved2[434];
};

/* EREPORT: what this enclave is, and `data`, for the target to believe. */
void sgx_report(const struct sgx_targetinfo *target, const uint8_t data[64], struct sgx_report *report);

/* EREPORT to itself: its own identity. */
void sgx_self(struct sgx_report_body *self);

/* What others report to this enclave with. */
void sgx_own_targetinfo(struct sgx_targetinfo *target);

/* The report was made on this machine, for this enclave. */
bool sgx_verify_report(const struct sgx_report *report);

/* EGETKEY: 0 or its error code. */
uint64_t sgx_key(const struct sgx_keyrequest *request, uint8_t key[16]);

/* EACCEPT of a page that the kernel has added (EAUG): 0 or its error code. */
uint64_t sgx_accept_page(void *page);

/* From RDRAND.  Traps if that does not give any. */
void sgx_random(void *to, size_t size);

/* AES-128-CMAC.  NIST SP 800-38B. */
void sgx_cmac(const uint8_t key[16], const void *data, size_t size, uint8_t mac[16]);

#endif
