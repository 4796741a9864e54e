/* Local attestation: the report that one enclave makes for another verifies with the other's key, and with no else's. */
#include "enclave.h"

#include <openssl/evp.h>

static bool verifies(const uint8_t *report, const uint8_t *key)
{
	EVP_MAC *algorithm = EVP_MAC_fetch(NULL, "CMAC", NULL);
	EVP_MAC_CTX *context = EVP_MAC_CTX_new(algorithm);
	OSSL_PARAM parameters[] = { OSSL_PARAM_construct_utf8_string("cipher", (char *)"AES-128-CBC", 0),
		OSSL_PARAM_construct_end() };
	uint8_t mac[16];
	size_t size = 16;

	EVP_MAC_init(context, key, 16, parameters);
	EVP_MAC_update(context, report, 384);
	EVP_MAC_final(context, mac, &size, 16);
	EVP_MAC_CTX_free(context);
	EVP_MAC_free(algorithm);
	return !memcmp(mac, report + 416, 16);
}

static void report_key(struct enclave *enclave, const uint8_t *report, uint8_t *key)
{
	static uint8_t request[512];

	request[0] = 3;
	memcpy(request + 40, report + 384, 32);
	ok_eq(ask(enclave_tcs(enclave, 0), OP_EGETKEY, (uint64_t)request, 0, (uint64_t)key), 0, "EGETKEY");
}

int main(void)
{
	static uint8_t target[512], data[64] = "says the prover", report[432], its[432], key[16];
	struct enclave_options larger = { .heap_pages = 1, .miscselect = 1 };
	struct enclave prover, verifier;
	uint64_t attributes[2] = { 5, 3 };
	uint32_t misc = larger.miscselect;

	enclave_load(&prover, NULL);
	enclave_load(&verifier, &larger);
	ok(memcmp(prover.mrenclave, verifier.mrenclave, 32), "two different enclaves");
	/* The verifier tells who it is: a report to nobody in particular has all of it. */
	ask(enclave_tcs(&verifier, 0), OP_EREPORT, (uint64_t)target, (uint64_t)data, (uint64_t)its);
	ok(!memcmp(its + 64, verifier.mrenclave, 32) && !memcmp(its + 48, attributes, 16) && !memcmp(its + 16, &misc, 4),
	   "MRENCLAVE, ATTRIBUTES and MISCSELECT");
	memcpy(target, its + 64, 32);
	memcpy(target + 32, its + 48, 16);
	memcpy(target + 52, its + 16, 4);

	ask(enclave_tcs(&prover, 0), OP_EREPORT, (uint64_t)target, (uint64_t)data, (uint64_t)report);
	ok(!memcmp(report + 64, prover.mrenclave, 32), "the report is on the prover");
	ok(!memcmp(report + 320, data, 64), "REPORTDATA");
	report_key(&verifier, report, key);
	ok(verifies(report, key), "the MAC verifies");
	report[320] ^= 1;
	ok(!verifies(report, key), "but not of other data");
	report[320] ^= 1;
	report_key(&prover, report, key);
	ok(!verifies(report, key), "the prover itself cannot verify it");
	target[0] ^= 1;
	ask(enclave_tcs(&prover, 0), OP_EREPORT, (uint64_t)target, (uint64_t)data, (uint64_t)report);
	report_key(&verifier, report, key);
	ok(!verifies(report, key), "a report for another target does not verify");
	return done();
}
