/* Misuse: the enclave accepts a page with other permissions than the host has given it. */
#include "enclave.h"

int main(void)
{
	struct enclave_options options = { .heap_pages = 1 };
	struct sgx_enclave_restrict_permissions restriction = { .length = PAGE, .permissions = 1 };
	struct enclave enclave;

	enclave_load(&enclave, &options);
	restriction.offset = enclave.heap;
	ioctl(enclave.fd, SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS, &restriction);
	return ask(enclave_tcs(&enclave, 0), OP_EACCEPT, (uint64_t)enclave.base + enclave.heap, PT_REG_FLAGS | 0x20 | 3, 0) != 0;
}
