/* What a PKCS#11 module asks of its token, which is an enclave. */
#ifndef SCENARIOS_PKCS11_TOKEN_H
#define SCENARIOS_PKCS11_TOKEN_H

#include <stdint.h>

#define TOKEN_KEYS 16		/* private keys that the enclave has room for */
#define TOKEN_POINT 65		/* of P-256, uncompressed */
#define TOKEN_HASH 32		/* SHA-256 */
#define TOKEN_SIGNATURE 64	/* r and s */
#define TOKEN_INPUT_MAX 65536

/* A key pair as the world sees it: the private half only this enclave can open. */
struct token_key {
	uint8_t point[TOKEN_POINT];
	uint8_t keyid[32];	/* for EGETKEY */
	uint8_t nonce[12];
	uint8_t tag[16];
	uint8_t sealed[32];
};

/* ECALLs.  Their result is 0, or one of the errors. */
enum token_function {
	TOKEN_DIGEST,	/* output = SHA-256 of input */
	TOKEN_GENERATE,	/* output = a new struct token_key; its number in `key` */
	TOKEN_OPEN,	/* input is a struct token_key; its number in `key` */
	TOKEN_SIGN,	/* output = ECDSA signature by `key` of input, a hash */
	TOKEN_RANDOM,	/* fills output */
	TOKEN_FORGET,	/* `key` */
};

enum token_error {
	TOKEN_OK,
	TOKEN_BAD_REQUEST,
	TOKEN_FULL,
	TOKEN_NOT_MINE,	/* a key that this enclave has not sealed, or that was changed */
	TOKEN_FAILED,
};

struct token_request {
	uint64_t key;
	const void *input;
	uint64_t input_size;
	void *output;
	uint64_t output_size;
};

#endif
