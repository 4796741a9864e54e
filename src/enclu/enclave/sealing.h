/*
 * Sealing: data that only this enclave, or its signer's, can read again, on this machine.
 *
 * The cipher is AES-SIV (RFC 5297) under keys of EGETKEY[SEAL_KEY], which depend on a random KEYID.
 */
#ifndef ENCLU_ENCLAVE_SEALING_H
#define ENCLU_ENCLAVE_SEALING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sgx_sealed {
	uint16_t keypolicy, isvsvn;	/* of the KEYREQUEST */
	uint32_t size;			/* of the data */
	uint8_t cpusvn[16], keyid[32];
	uint8_t siv[16];		/* authenticates all */
	uint8_t data[];
};

static inline size_t sgx_sealed_size(size_t size)
{
	return sizeof(struct sgx_sealed) + size;
}

/*
 * Seals `size` bytes into sgx_sealed_size(size) bytes at `sealed`, which must be in the enclave.  `policy` says who can
 * unseal it: SGX_POLICY_MRENCLAVE this very enclave, SGX_POLICY_MRSIGNER all of its signer and product, of this or a
 * higher ISVSVN.  0 or EGETKEY's error code.
 */
uint64_t sgx_seal(uint16_t policy, const void *data, size_t size, struct sgx_sealed *sealed);

/*
 * The data, of sealed->size bytes; `sealed` has `sealed_size` bytes, in the enclave.  False if it was not sealed by this
 * enclave or signer on this machine, or was changed since.
 */
bool sgx_unseal(const struct sgx_sealed *sealed, size_t sealed_size, void *data);

#endif
