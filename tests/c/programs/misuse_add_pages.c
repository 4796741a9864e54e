/* Misuse: pages are added after EINIT. */
#include "enclave.h"

int main(void)
{
	static uint8_t source[PAGE] __attribute__((aligned(PAGE)));
	static uint64_t secinfo[8] __attribute__((aligned(64))) = { PT_REG_FLAGS | 3 };
	struct enclave_options options = { .spare_pages = 1 };
	struct sgx_enclave_add_pages add = { .src = (uint64_t)source, .length = PAGE, .secinfo = (uint64_t)secinfo };
	struct enclave enclave;

	enclave_load(&enclave, &options);
	add.offset = enclave.spare;
	return ioctl(enclave.fd, SGX_IOC_ENCLAVE_ADD_PAGES, &add) != 0;
}
