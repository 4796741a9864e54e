/* AES-128 (FIPS 197), one block, encryption only: all that CMAC, CTR and SIV need; and what CMAC and SIV do with a block. */
#ifndef ENCLU_ENCLAVE_AES_H
#define ENCLU_ENCLAVE_AES_H

#include <stdint.h>

void aes_encrypt(const uint8_t key[16], uint8_t block[16]);

/* Times x in GF(2^128): SP 800-38B section 6.1, RFC 5297 section 2.3. */
void aes_double(uint8_t block[16]);

#endif
