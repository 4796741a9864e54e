/* PROVISIONKEY needs a descriptor of /dev/sgx_provision; an enclave that has it gets provisioning keys, others do not. */
#include "enclave.h"

#define PROVISIONKEY 0x10
#define PROVISION_KEY 1
#define PROVISION_SEAL_KEY 2
#define SGX_INVALID_ATTRIBUTE 2

static int allow(struct enclave *enclave, uint64_t fd)
{
	struct sgx_enclave_provision arguments = { .fd = fd };

	return ioctl(enclave->fd, SGX_IOC_ENCLAVE_PROVISION, &arguments) ? errno : 0;
}

static uint64_t get_key(struct enclave *enclave, int name, uint8_t *key)
{
	static uint8_t request[512];

	request[0] = name;
	return ask(enclave_tcs(enclave, 0), OP_EGETKEY, (uint64_t)request, 0, (uint64_t)key);
}

int main(void)
{
	struct enclave_options options = { .attributes = PROVISIONKEY, .no_init = true };
	struct enclave enclave, plain;
	uint8_t key[16], again[16];
	int provision = open("/dev/sgx_provision", O_RDONLY), copy;

	enclave_load(&plain, NULL);
	enclave_load(&enclave, &options);
	ok_eq(enclave_init(&enclave) ? errno : 0, EACCES, "INIT without leave");
	ok_eq(allow(&enclave, enclave.fd), EINVAL, "a descriptor of an enclave");
	ok_eq(allow(&enclave, 0), EINVAL, "of something else");
	ok_eq(allow(&enclave, 999), EINVAL, "of nothing");
	ok_eq(enclave_init(&enclave) ? errno : 0, EACCES, "INIT, still");
	copy = dup(provision);
	close(provision);
	ok_eq(allow(&enclave, copy), 0, "of /dev/sgx_provision");
	ok_eq(enclave_init(&enclave), 0, "INIT with leave");
	ok_eq(get_key(&enclave, PROVISION_KEY, key), 0, "the provisioning key");
	ok_eq(get_key(&enclave, PROVISION_KEY, again), 0, "and again");
	ok(!memcmp(key, again, 16), "the same");
	ok_eq(get_key(&enclave, PROVISION_SEAL_KEY, again), 0, "the provisioning seal key");
	ok(memcmp(key, again, 16), "is another");
	ok_eq(get_key(&plain, PROVISION_KEY, key), SGX_INVALID_ATTRIBUTE, "an enclave without PROVISIONKEY gets none");
	return done();
}
