/* Misuse: the enclave writes to a page that its host has restricted to reading. */
#include "enclave.h"

int main(void)
{
	struct enclave_options options = { .heap_pages = 1 };
	struct sgx_enclave_restrict_permissions restriction = { .length = PAGE, .permissions = 1 };
	struct request request = { .op = OP_WRITE };
	struct enclave enclave;

	enclave_load(&enclave, &options);
	request.a = (uint64_t)enclave.base + enclave.heap;
	restriction.offset = enclave.heap;
	ioctl(enclave.fd, SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS, &restriction);
	attempt(enclave_tcs(&enclave, 0), &request, EENTER);
	return 1;
}
