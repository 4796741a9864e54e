/* A difference from hardware: a page that an enclave has used is plain memory to code outside, no abort page. */
#include "enclave.h"

int main(void)
{
	struct enclave_options options = { .heap_pages = 1 };
	struct enclave enclave, other;
	volatile uint64_t *page;

	enclave_load(&enclave, &options);
	enclave_load(&other, NULL);
	page = (void *)(enclave.base + enclave.heap);
	ask(enclave_tcs(&enclave, 0), OP_WRITE, (uint64_t)page, 0x5ec4e7, 0);
	ok_eq(*page, 0x5ec4e7, "read outside (hardware: all ones)");
	ok_eq(ask(enclave_tcs(&other, 0), OP_READ, (uint64_t)page, 0, 0), 0x5ec4e7, "read by another enclave (all ones)");
	*page = 7;
	ok_eq(ask(enclave_tcs(&enclave, 0), OP_READ, (uint64_t)page, 0, 0), 7, "written outside (hardware: the write is dropped)");
	return done();
}
