/* Sealing by AES-SIV.  RFC 5297. */
#include "sealing.h"
#include "aes.h"
#include "sgx.h"

#include <string.h>

/* SIV's two keys are those of KEYIDs that differ in their last bit. */
static uint64_t seal_keys(const struct sgx_sealed *sealed, uint8_t mac_key[16], uint8_t counter_key[16])
{
	struct sgx_keyrequest request = {
		.keyname = SGX_SEAL_KEY, .keypolicy = sealed->keypolicy, .isvsvn = sealed->isvsvn,
		.attributemask = SGX_ATTRIBUTE_DEBUG, .xfrmmask = ~3ull,
	};
	uint64_t error;

	memcpy(request.cpusvn, sealed->cpusvn, sizeof(request.cpusvn));
	memcpy(request.keyid, sealed->keyid, sizeof(request.keyid));
	request.keyid[31] &= ~1;
	error = sgx_key(&request, mac_key);
	request.keyid[31] |= 1;
	return error ? error : sgx_key(&request, counter_key);
}

/* Section 2.4, for one string of associated data and the plaintext; `scratch` has room for 16 or `size` bytes. */
static void s2v(const uint8_t key[16], const void *associated, size_t associated_size, const uint8_t *text, size_t size,
		uint8_t *scratch, uint8_t siv[16])
{
	static const uint8_t zero[16];
	uint8_t sum[16], mac[16];

	sgx_cmac(key, zero, sizeof(zero), sum);
	aes_double(sum);
	sgx_cmac(key, associated, associated_size, mac);
	for (int i = 0; i < 16; i++)
		sum[i] ^= mac[i];
	if (size >= 16) {
		memmove(scratch, text, size);
		for (int i = 0; i < 16; i++)
			scratch[size - 16 + i] ^= sum[i];
		sgx_cmac(key, scratch, size, siv);
		for (int i = 0; i < 16; i++)
			scratch[size - 16 + i] ^= sum[i];
		return;
	}
	aes_double(sum);
	for (size_t i = 0; i < size; i++)
		sum[i] ^= text[i];
	sum[size] ^= 0x80;
	sgx_cmac(key, sum, sizeof(sum), siv);
}

/* Section 2.5. */
static void apply_counter(const uint8_t key[16], const uint8_t siv[16], const uint8_t *from, uint8_t *to, size_t size)
{
	uint8_t counter[16], stream[16];

	memcpy(counter, siv, sizeof(counter));
	counter[8] &= 0x7f;
	counter[12] &= 0x7f;
	for (size_t i = 0; i < size; i++) {
		if (i % 16 == 0) {
			memcpy(stream, counter, sizeof(stream));
			aes_encrypt(key, stream);
			for (int j = 15; j >= 0 && !++counter[j]; j--)
				;
		}
		to[i] = from[i] ^ stream[i % 16];
	}
}

uint64_t sgx_seal(uint16_t policy, const void *data, size_t size, struct sgx_sealed *sealed)
{
	struct sgx_report_body self;
	uint8_t mac_key[16], counter_key[16];
	uint64_t error;

	sgx_self(&self);
	sealed->keypolicy = policy;
	sealed->isvsvn = self.isvsvn;
	sealed->size = size;
	memcpy(sealed->cpusvn, self.cpusvn, sizeof(sealed->cpusvn));
	sgx_random(sealed->keyid, sizeof(sealed->keyid));
	error = seal_keys(sealed, mac_key, counter_key);
	if (error)
		return error;
	s2v(mac_key, sealed, offsetof(struct sgx_sealed, siv), data, size, sealed->data, sealed->siv);
	apply_counter(counter_key, sealed->siv, data, sealed->data, size);
	return 0;
}

bool sgx_unseal(const struct sgx_sealed *sealed, size_t sealed_size, void *data)
{
	uint8_t mac_key[16], counter_key[16], siv[16], different = 0;

	if (sealed_size < sizeof(*sealed) || sealed_size - sizeof(*sealed) != sealed->size)
		return false;
	/* EGETKEY would raise #GP for bits that it does not know. */
	if (sealed->keypolicy & ~(SGX_POLICY_MRENCLAVE | SGX_POLICY_MRSIGNER))
		return false;
	if (seal_keys(sealed, mac_key, counter_key))
		return false;
	apply_counter(counter_key, sealed->siv, sealed->data, data, sealed->size);
	s2v(mac_key, sealed, offsetof(struct sgx_sealed, siv), data, sealed->size, data, siv);
	for (int i = 0; i < 16; i++)
		different |= siv[i] ^ sealed->siv[i];
	if (different)
		memset(data, 0, sealed->size);
	return !different;
}
