/*
 * A token: an enclave with private keys, which never leave it but sealed.  Cryptography is Debian's libmbedcrypto.
 *
 * Its heap has no pages at first.  The first access to one raises #PF, the kernel adds the page (EAUG), and the enclave
 * accepts it when its host has it handle the exception.  Every key has a page of its own.
 */
#include "token.h"
#include "heap.h"
#include "sgx.h"
#include "trusted.h"

#include <mbedtls/chachapoly.h>
#include <mbedtls/ecdsa.h>
#include <mbedtls/hkdf.h>
#include <mbedtls/platform_util.h>

struct key {
	mbedtls_ecp_group group;
	mbedtls_mpi d;		/* private */
	mbedtls_ecp_point q;	/* public */
	bool used;
};
static struct key *keys[TOKEN_KEYS];

/* One ECALL at a time uses keys and heap; one that was given up in the middle is the last. */
static bool busy;

bool enclave_exception(struct ssa_gpr *gpr, const struct ssa_exinfo *exinfo)
{
	uint64_t page = exinfo->address & -SGX_PAGE;

	if (gpr->exitinfo != (EXITINFO_VALID | 3 << 8 | 14) || !in_heap(page))
		return false;
	return sgx_accept_page((void *)page) == 0;
}

static int random_bytes(void *context, unsigned char *output, size_t size)
{
	(void)context;
	sgx_random(output, size);
	return 0;
}

/* A key of this enclave on this machine: 128 bits from EGETKEY, made longer. */
static int sealing_key(const uint8_t keyid[32], uint8_t key[32])
{
	struct sgx_keyrequest request = {
		.keyname = SGX_SEAL_KEY, .keypolicy = SGX_POLICY_MRENCLAVE, .attributemask = -1ull, .xfrmmask = -1ull,
	};
	uint8_t root[16];

	memcpy(request.keyid, keyid, sizeof(request.keyid));
	if (sgx_key(&request, root))
		return TOKEN_FAILED;
	return mbedtls_hkdf(mbedtls_md_info_from_type(MBEDTLS_MD_SHA256), NULL, 0, root, sizeof(root),
			    (const uint8_t *)TOKEN, sizeof(TOKEN), key, 32);
}

static int seal(struct key *key, struct token_key *out)
{
	uint8_t secret[32], wrapping[32];
	mbedtls_chachapoly_context cipher;
	size_t size;
	int error;

	mbedtls_chachapoly_init(&cipher);
	error = mbedtls_ecp_point_write_binary(&key->group, &key->q, MBEDTLS_ECP_PF_UNCOMPRESSED, &size, out->point,
					       sizeof(out->point)) ||
		mbedtls_mpi_write_binary(&key->d, secret, sizeof(secret)) ||
		random_bytes(NULL, out->keyid, sizeof(out->keyid)) ||
		random_bytes(NULL, out->nonce, sizeof(out->nonce)) ||
		sealing_key(out->keyid, wrapping) ||
		mbedtls_chachapoly_setkey(&cipher, wrapping) ||
		mbedtls_chachapoly_encrypt_and_tag(&cipher, sizeof(secret), out->nonce, out->point, sizeof(out->point),
						   secret, out->sealed, out->tag);
	mbedtls_chachapoly_free(&cipher);
	mbedtls_platform_zeroize(secret, sizeof(secret));
	mbedtls_platform_zeroize(wrapping, sizeof(wrapping));
	return error ? TOKEN_FAILED : TOKEN_OK;
}

static int unseal(struct key *key, const struct token_key *in)
{
	uint8_t secret[32], wrapping[32];
	mbedtls_chachapoly_context cipher;
	int error;

	mbedtls_chachapoly_init(&cipher);
	error = sealing_key(in->keyid, wrapping) ||
		mbedtls_chachapoly_setkey(&cipher, wrapping) ||
		mbedtls_chachapoly_auth_decrypt(&cipher, sizeof(secret), in->nonce, in->point, sizeof(in->point), in->tag,
						in->sealed, secret) ||
		mbedtls_ecp_point_read_binary(&key->group, &key->q, in->point, sizeof(in->point)) ||
		mbedtls_mpi_read_binary(&key->d, secret, sizeof(secret));
	mbedtls_chachapoly_free(&cipher);
	mbedtls_platform_zeroize(secret, sizeof(secret));
	mbedtls_platform_zeroize(wrapping, sizeof(wrapping));
	return error ? TOKEN_NOT_MINE : TOKEN_OK;
}

static void forget(struct key *key)
{
	mbedtls_ecp_group_free(&key->group);
	mbedtls_mpi_free(&key->d);
	mbedtls_ecp_point_free(&key->q);
	key->used = false;
}

/* A place for a key, and its number. */
static struct key *new_key(uint64_t *number)
{
	struct key *key;

	for (*number = 0; *number < TOKEN_KEYS; ++*number) {
		struct key **place = &keys[*number];

		if (!*place)
			*place = new_page();
		if (!*place || !(*place)->used)
			break;
	}
	if (*number == TOKEN_KEYS || !keys[*number])
		return NULL;
	key = keys[*number];
	key->used = true;
	mbedtls_ecp_group_init(&key->group);
	mbedtls_mpi_init(&key->d);
	mbedtls_ecp_point_init(&key->q);
	return key;
}

static int generate(struct token_request *request, struct token_key *out)
{
	struct key *key = new_key(&request->key);
	int error;

	if (!key)
		return TOKEN_FULL;
	error = mbedtls_ecp_group_load(&key->group, MBEDTLS_ECP_DP_SECP256R1) ||
		mbedtls_ecp_gen_keypair(&key->group, &key->d, &key->q, random_bytes, NULL) ? TOKEN_FAILED : seal(key, out);
	if (error)
		forget(key);
	return error;
}

static int open_key(struct token_request *request, const struct token_key *in)
{
	struct key *key = new_key(&request->key);
	int error;

	if (!key)
		return TOKEN_FULL;
	error = mbedtls_ecp_group_load(&key->group, MBEDTLS_ECP_DP_SECP256R1) ? TOKEN_FAILED : unseal(key, in);
	if (error)
		forget(key);
	return error;
}

static int sign(struct key *key, const uint8_t *hash, size_t size, uint8_t out[TOKEN_SIGNATURE])
{
	mbedtls_mpi r, s;
	int error;

	mbedtls_mpi_init(&r);
	mbedtls_mpi_init(&s);
	error = mbedtls_ecdsa_sign(&key->group, &r, &s, &key->d, hash, size, random_bytes, NULL) ||
		mbedtls_mpi_write_binary(&r, out, TOKEN_SIGNATURE / 2) ||
		mbedtls_mpi_write_binary(&s, out + TOKEN_SIGNATURE / 2, TOKEN_SIGNATURE / 2);
	mbedtls_mpi_free(&r);
	mbedtls_mpi_free(&s);
	return error ? TOKEN_FAILED : TOKEN_OK;
}

/* `input` is the enclave's copy; so is `output`, of output_size bytes. */
static int carry_out(enum token_function function, struct token_request *request, const uint8_t *input, uint8_t *output)
{
	struct key *key = request->key < TOKEN_KEYS ? keys[request->key] : NULL;

	switch (function) {
	case TOKEN_DIGEST:
		if (request->output_size != TOKEN_HASH)
			break;
		return mbedtls_md(mbedtls_md_info_from_type(MBEDTLS_MD_SHA256), input, request->input_size, output) ?
			       TOKEN_FAILED : TOKEN_OK;
	case TOKEN_GENERATE:
		if (request->output_size != sizeof(struct token_key))
			break;
		return generate(request, (struct token_key *)output);
	case TOKEN_OPEN:
		if (request->input_size != sizeof(struct token_key))
			break;
		return open_key(request, (const struct token_key *)input);
	case TOKEN_SIGN:
		if (request->output_size != TOKEN_SIGNATURE || !key || !key->used)
			break;
		return sign(key, input, request->input_size, output);
	case TOKEN_RANDOM:
		return random_bytes(NULL, output, request->output_size) ? TOKEN_FAILED : TOKEN_OK;
	case TOKEN_FORGET:
		if (!key || !key->used)
			break;
		forget(key);
		return TOKEN_OK;
	}
	return TOKEN_BAD_REQUEST;
}

uint64_t enclave_main(struct thread *thread, uint64_t function, void *argument)
{
	struct token_request request;
	uint8_t *input, *output;
	uint64_t error = TOKEN_FULL;

	(void)thread;
	if (!is_outside(argument, sizeof(request)))
		return TOKEN_BAD_REQUEST;
	memcpy(&request, argument, sizeof(request));
	if (request.input_size > TOKEN_INPUT_MAX || request.output_size > TOKEN_INPUT_MAX ||
	    !is_outside(request.input, request.input_size) || !is_outside(request.output, request.output_size))
		return TOKEN_BAD_REQUEST;
	if (__atomic_exchange_n(&busy, true, __ATOMIC_ACQUIRE))
		return TOKEN_FAILED;
	input = calloc(1, request.input_size + 1);
	output = calloc(1, request.output_size + 1);
	if (input && output) {
		memcpy(input, request.input, request.input_size);
		error = carry_out(function, &request, input, output);
		if (!error)
			memcpy(request.output, output, request.output_size);
		((struct token_request *)argument)->key = request.key;
	}
	free(input);
	free(output);
	__atomic_store_n(&busy, false, __ATOMIC_RELEASE);
	return error;
}
