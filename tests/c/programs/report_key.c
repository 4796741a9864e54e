/* EREPORT's MAC verifies with the key of EGETKEY; the seal key is the same for the same request. */
#include "enclave.h"

#include <openssl/evp.h>

int main(void)
{
	static uint8_t target[512], data[64], report[512], request[512];
	struct request ereport = { .op = OP_EREPORT, .a = (uint64_t)target, .b = (uint64_t)data, .c = (uint64_t)report };
	uint8_t key[16], again[16], mac[16];
	struct request egetkey = { .op = OP_EGETKEY, .a = (uint64_t)request, .c = (uint64_t)key };
	uint64_t attributes[2] = { 5, 3 };
	struct enclave enclave;
	size_t size = 16;

	enclave_load(&enclave, NULL);
	attributes[0] = 4 | 1; /* MODE64BIT and INIT */
	memcpy(target, enclave.mrenclave, 32);
	memcpy(target + 32, attributes, 16);
	memcpy(data, "what the enclave says", 22);
	enclave_call(enclave_tcs(&enclave, 0), &ereport, NULL);
	ok(!memcmp(report + 64, enclave.mrenclave, 32), "MRENCLAVE is what we measured");
	ok(!memcmp(report + 320, data, 64), "REPORTDATA");

	request[0] = 3; /* REPORT key, with the report's KEYID */
	memcpy(request + 40, report + 384, 32);
	enclave_call(enclave_tcs(&enclave, 0), &egetkey, NULL);
	ok_eq(egetkey.result, 0, "EGETKEY of the report key");
	EVP_MAC *algorithm = EVP_MAC_fetch(NULL, "CMAC", NULL);
	EVP_MAC_CTX *context = EVP_MAC_CTX_new(algorithm);
	OSSL_PARAM parameters[] = { OSSL_PARAM_construct_utf8_string("cipher", (char *)"AES-128-CBC", 0), OSSL_PARAM_construct_end() };
	EVP_MAC_init(context, key, 16, parameters);
	EVP_MAC_update(context, report, 384);
	EVP_MAC_final(context, mac, &size, 16);
	ok(!memcmp(mac, report + 416, 16), "the MAC verifies");

	memset(request, 0, sizeof(request));
	request[0] = 4; /* SEAL key */
	request[2] = 2; /* by MRSIGNER */
	enclave_call(enclave_tcs(&enclave, 0), &egetkey, NULL);
	ok_eq(egetkey.result, 0, "EGETKEY of the seal key");
	memcpy(again, key, 16);
	memset(key, 0, 16);
	enclave_unload(&enclave);
	enclave_load(&enclave, NULL);
	enclave_call(enclave_tcs(&enclave, 0), &egetkey, NULL);
	ok(!memcmp(key, again, 16), "seal key: the same in a second enclave");
	return done();
}
