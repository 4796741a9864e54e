/* The floor under paging: microseconds to copy two pages and to encrypt one and decrypt the other by AES-128-GCM. */
#include <openssl/evp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define PAGE 4096
#define COUNT 100000

static void gcm(EVP_CIPHER_CTX *context, int encrypt, const uint8_t *iv, uint8_t *to, const uint8_t *from, uint8_t *mac)
{
	int size;

	EVP_CipherInit_ex(context, NULL, NULL, NULL, iv, encrypt);
	EVP_CipherUpdate(context, NULL, &size, iv, 12);
	EVP_CipherUpdate(context, to, &size, from, PAGE);
	if (!encrypt)
		EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, 16, mac);
	if (EVP_CipherFinal_ex(context, to + size, &size) != 1)
		fprintf(stderr, "AES-GCM failed\n");
	if (encrypt)
		EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, 16, mac);
}

int main(void)
{
	static uint8_t page[PAGE], copy[PAGE], cipher[PAGE], key[16], iv[12], mac[16];
	EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
	struct timespec a, b;

	EVP_CipherInit_ex(context, EVP_aes_128_gcm(), NULL, key, iv, 1);
	clock_gettime(CLOCK_MONOTONIC, &a);
	for (int i = 0; i < COUNT; i++) {
		memcpy(iv, &i, sizeof(i));
		memcpy(copy, page, PAGE);
		gcm(context, 1, iv, cipher, copy, mac);
		gcm(context, 0, iv, copy, cipher, mac);
		memcpy(page, copy, PAGE);
	}
	clock_gettime(CLOCK_MONOTONIC, &b);
	printf("%.3f\n", ((b.tv_sec - a.tv_sec) * 1e6 + (b.tv_nsec - a.tv_nsec) / 1e3) / COUNT);
	return 0;
}
