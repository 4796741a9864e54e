/* Verification outside: by libcrypto, which has nothing to do with the enclaves. */
#ifndef SCENARIOS_PKCS11_VERIFY_H
#define SCENARIOS_PKCS11_VERIFY_H

#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/x509.h>
#include <stdbool.h>
#include <stdint.h>

/* From an uncompressed point of P-256. */
static inline EVP_PKEY *key_of_point(const uint8_t *point, size_t size)
{
	OSSL_PARAM parameters[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, (char *)"prime256v1", 0),
		OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, (void *)point, size),
		OSSL_PARAM_construct_end(),
	};
	EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
	EVP_PKEY *key = NULL;

	EVP_PKEY_fromdata_init(context);
	EVP_PKEY_fromdata(context, &key, EVP_PKEY_PUBLIC_KEY, parameters);
	EVP_PKEY_CTX_free(context);
	return key;
}

/* `signature`: r and s, as PKCS#11 has it.  With SHA-256. */
static inline bool verifies(EVP_PKEY *key, const uint8_t *signature, size_t size, const void *text, size_t length)
{
	ECDSA_SIG *numbers = ECDSA_SIG_new();
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	uint8_t *der = NULL;
	bool good = false;

	if (key && size == 64 &&
	    ECDSA_SIG_set0(numbers, BN_bin2bn(signature, 32, NULL), BN_bin2bn(signature + 32, 32, NULL))) {
		int der_size = i2d_ECDSA_SIG(numbers, &der);

		good = EVP_DigestVerifyInit(context, NULL, EVP_sha256(), NULL, key) == 1 &&
		       EVP_DigestVerify(context, der, der_size, text, length) == 1;
	}
	OPENSSL_free(der);
	EVP_MD_CTX_free(context);
	ECDSA_SIG_free(numbers);
	return good;
}

#endif
