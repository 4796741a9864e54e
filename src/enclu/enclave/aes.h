/* AES-128 (FIPS 197), one block, encryption only: all that CMAC, CTR and SIV need. */
#ifndef ENCLU_ENCLAVE_AES_H
#define ENCLU_ENCLAVE_AES_H

#include <stdint.h>

void aes_encrypt(const uint8_t key[16], uint8_t block[16]);

#endif
