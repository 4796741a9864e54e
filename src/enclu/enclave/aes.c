/*
 * AES-128 and CMAC in plain C: short, and slow enough for keys, reports and small things to be sealed only.  The S-box
 * is computed, so that no lookup depends on a secret.
 */
#include "aes.h"
#include "sgx.h"

#include <string.h>

static uint8_t twice(uint8_t value)
{
	return value << 1 ^ (value >> 7) * 0x1b;
}

static uint8_t product(uint8_t a, uint8_t b)
{
	uint8_t sum = 0;

	for (int bit = 0; bit < 8; bit++, a = twice(a))
		sum ^= a & -(b >> bit & 1);
	return sum;
}

/* FIPS 197 section 5.1.1: the inverse, which is the 254th power, then an affine map. */
static uint8_t substitute(uint8_t value)
{
	uint8_t square = value, inverse = 1, result = 0x63;

	for (int i = 0; i < 7; i++) {
		square = product(square, square);
		inverse = product(inverse, square);
	}
	for (int i = 0; i < 5; i++)
		result ^= inverse << i | inverse >> (8 - i);
	return result;
}

static void next_round_key(uint8_t key[16], uint8_t *constant)
{
	for (int i = 0; i < 4; i++)
		key[i] ^= substitute(key[12 + (i + 1) % 4]);
	key[0] ^= *constant;
	*constant = twice(*constant);
	for (int i = 4; i < 16; i++)
		key[i] ^= key[i - 4];
}

void aes_encrypt(const uint8_t key[16], uint8_t block[16])
{
	uint8_t round_key[16], moved[16], constant = 1;

	memcpy(round_key, key, 16);
	for (int i = 0; i < 16; i++)
		block[i] ^= key[i];
	for (int round = 1; round <= 10; round++) {
		for (int i = 0; i < 16; i++)	/* SubBytes and ShiftRows */
			moved[i] = substitute(block[(i + 4 * (i % 4)) % 16]);
		for (int column = 0; column < 16 && round < 10; column += 4) {	/* MixColumns */
			uint8_t *c = moved + column, first = c[0], all = c[0] ^ c[1] ^ c[2] ^ c[3];

			for (int i = 0; i < 4; i++)
				c[i] ^= all ^ twice(c[i] ^ (i == 3 ? first : c[i + 1]));
		}
		next_round_key(round_key, &constant);
		for (int i = 0; i < 16; i++)
			block[i] = moved[i] ^ round_key[i];
	}
}

void aes_double(uint8_t block[16])
{
	uint8_t carry = block[0] >> 7;

	for (int i = 0; i < 16; i++)
		block[i] = block[i] << 1 | (i < 15 ? block[i + 1] >> 7 : 0);
	block[15] ^= carry * 0x87;
}

void sgx_cmac(const uint8_t key[16], const void *data, size_t size, uint8_t mac[16])
{
	const uint8_t *from = data;
	uint8_t subkey[16] = { 0 }, last[16] = { 0 };

	aes_encrypt(key, subkey);
	aes_double(subkey);
	memset(mac, 0, 16);
	for (; size > 16; size -= 16, from += 16) {
		for (int i = 0; i < 16; i++)
			mac[i] ^= from[i];
		aes_encrypt(key, mac);
	}
	memcpy(last, from, size);
	if (size < 16) {
		aes_double(subkey);
		last[size] = 0x80;
	}
	for (int i = 0; i < 16; i++)
		mac[i] ^= last[i] ^ subkey[i];
	aes_encrypt(key, mac);
}
