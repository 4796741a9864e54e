/* ECDSA with P-256 and SHA-256, by libmbedcrypto.  Numbers are big-endian, as in quotes. */
#ifndef ENCLAVES_P256_H
#define ENCLAVES_P256_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct p256_key {
	uint8_t private_key[32], public_key[64];	/* X, then Y */
};

/* All return false if libmbedcrypto fails, for want of memory. */
bool p256_generate(struct p256_key *key);
/* From a seed of any size, by FIPS 186-4 B.4.1: seed mod (n - 1), plus 1. */
bool p256_derive(const uint8_t *seed, size_t size, struct p256_key *key);
/* Fills public_key. */
bool p256_complete(struct p256_key *key);
/* R, then S. */
bool p256_sign(const struct p256_key *key, const void *message, size_t size, uint8_t signature[64]);

bool sha256(const void *message, size_t size, const void *more, size_t more_size, uint8_t hash[32]);

#endif
