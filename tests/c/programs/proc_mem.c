/* A difference from Linux: /proc/self/mem reads a production enclave; with EDBGRD it would read debug enclaves only. */
#include "enclave.h"

int main(void)
{
	struct enclave_options options = { .heap_pages = 1 };
	struct enclave enclave;
	uint64_t heap, word = 0;

	enclave_load(&enclave, &options);
	heap = (uint64_t)enclave.base + enclave.heap;
	ask(enclave_tcs(&enclave, 0), OP_WRITE, heap, 0x5ec4e7, 0);
	ok_eq(pread(open("/proc/self/mem", O_RDONLY), &word, 8, heap), 8, "a page is read (Linux: EIO)");
	ok_eq(word, 0x5ec4e7, "as the enclave wrote it");
	return done();
}
