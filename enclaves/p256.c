#include "p256.h"
#include "sgx.h"

#include <mbedtls/ecdsa.h>
#include <mbedtls/md.h>
#include <mbedtls/platform_util.h>
#include <string.h>

static int random_bytes(void *context, unsigned char *output, size_t size)
{
	(void)context;
	sgx_random(output, size);
	return 0;
}

bool sha256(const void *message, size_t size, const void *more, size_t more_size, uint8_t hash[32])
{
	mbedtls_md_context_t context;
	bool failed;

	mbedtls_md_init(&context);
	failed = mbedtls_md_setup(&context, mbedtls_md_info_from_type(MBEDTLS_MD_SHA256), 0) ||
		 mbedtls_md_starts(&context) || mbedtls_md_update(&context, message, size) ||
		 mbedtls_md_update(&context, more, more_size) || mbedtls_md_finish(&context, hash);
	mbedtls_md_free(&context);
	return !failed;
}

static bool complete(mbedtls_ecp_group *group, const mbedtls_mpi *d, struct p256_key *key)
{
	mbedtls_ecp_point q;
	uint8_t point[65];
	size_t size;
	bool failed;

	mbedtls_ecp_point_init(&q);
	failed = mbedtls_ecp_mul(group, &q, d, &group->G, random_bytes, NULL) ||
		 mbedtls_ecp_point_write_binary(group, &q, MBEDTLS_ECP_PF_UNCOMPRESSED, &size, point, sizeof(point));
	if (!failed)
		memcpy(key->public_key, point + 1, sizeof(key->public_key));
	mbedtls_ecp_point_free(&q);
	return !failed;
}

bool p256_complete(struct p256_key *key)
{
	mbedtls_ecp_group group;
	mbedtls_mpi d;
	bool done;

	mbedtls_ecp_group_init(&group);
	mbedtls_mpi_init(&d);
	done = !mbedtls_ecp_group_load(&group, MBEDTLS_ECP_DP_SECP256R1) &&
	       !mbedtls_mpi_read_binary(&d, key->private_key, sizeof(key->private_key)) && complete(&group, &d, key);
	mbedtls_mpi_free(&d);
	mbedtls_ecp_group_free(&group);
	return done;
}

bool p256_derive(const uint8_t *seed, size_t size, struct p256_key *key)
{
	mbedtls_ecp_group group;
	mbedtls_mpi d, order;
	bool done;

	mbedtls_ecp_group_init(&group);
	mbedtls_mpi_init(&d);
	mbedtls_mpi_init(&order);
	done = !mbedtls_ecp_group_load(&group, MBEDTLS_ECP_DP_SECP256R1) && !mbedtls_mpi_read_binary(&d, seed, size) &&
	       !mbedtls_mpi_sub_int(&order, &group.N, 1) && !mbedtls_mpi_mod_mpi(&d, &d, &order) &&
	       !mbedtls_mpi_add_int(&d, &d, 1) &&
	       !mbedtls_mpi_write_binary(&d, key->private_key, sizeof(key->private_key)) && complete(&group, &d, key);
	mbedtls_mpi_free(&order);
	mbedtls_mpi_free(&d);
	mbedtls_ecp_group_free(&group);
	return done;
}

bool p256_generate(struct p256_key *key)
{
	uint8_t seed[40];	/* 64 bits more than the order has, so that no key is likelier than another */
	bool done;

	sgx_random(seed, sizeof(seed));
	done = p256_derive(seed, sizeof(seed), key);
	mbedtls_platform_zeroize(seed, sizeof(seed));
	return done;
}

bool p256_sign(const struct p256_key *key, const void *message, size_t size, uint8_t signature[64])
{
	mbedtls_ecp_group group;
	mbedtls_mpi d, r, s;
	uint8_t hash[32];
	bool done;

	mbedtls_ecp_group_init(&group);
	mbedtls_mpi_init(&d);
	mbedtls_mpi_init(&r);
	mbedtls_mpi_init(&s);
	done = sha256(message, size, NULL, 0, hash) && !mbedtls_ecp_group_load(&group, MBEDTLS_ECP_DP_SECP256R1) &&
	       !mbedtls_mpi_read_binary(&d, key->private_key, sizeof(key->private_key)) &&
	       !mbedtls_ecdsa_sign(&group, &r, &s, &d, hash, sizeof(hash), random_bytes, NULL) &&
	       !mbedtls_mpi_write_binary(&r, signature, 32) && !mbedtls_mpi_write_binary(&s, signature + 32, 32);
	mbedtls_mpi_free(&s);
	mbedtls_mpi_free(&r);
	mbedtls_mpi_free(&d);
	mbedtls_ecp_group_free(&group);
	return done;
}
