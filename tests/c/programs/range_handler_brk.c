/* A difference from a kernel's: memory that brk(2) takes away leaves the registrations in it. */
#include "enclave.h"

#include "enclu_sgx.h"

int main(void)
{
	int fd = open("/dev/sgx_enclave", O_RDWR);
	uint64_t page = ((uint64_t)sbrk(3 * PAGE) + PAGE - 1) & -PAGE;
	struct enclu_sgx_range_handler range = { page, 16, (uint64_t)main, 0 };

	ok_eq(ioctl(fd, ENCLU_SGX_IOC_REGISTER_RANGE_HANDLER, &range), 0, "a range in the heap");
	sbrk(-3 * PAGE);
	ok(ioctl(fd, ENCLU_SGX_IOC_REGISTER_RANGE_HANDLER, &range) == -1 && errno == EEXIST, "still there after brk");
	return done();
}
