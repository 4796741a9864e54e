/* A difference from Linux: the first access of all to a page, if the VMA forbids it, has P = 1 in its error code. */
#include "enclave.h"

int main(void)
{
	struct enclave_options options = { .heap_pages = 2 };
	struct request write = { .op = OP_WRITE };
	struct enclave enclave;
	uint64_t heap;
	void *tcs;

	enclave_load(&enclave, &options);
	tcs = enclave_tcs(&enclave, 0);
	heap = (uint64_t)enclave.base + enclave.heap;
	mprotect((void *)heap, 2 * PAGE, PROT_READ);
	write.a = heap;
	expect_fault("never touched (Linux: 6)", attempt(tcs, &write, EENTER), ERESUME, 14, 7, heap);
	drop_frame(tcs);
	ask(tcs, OP_READ, heap + PAGE, 0, 0);
	write.a = heap + PAGE;
	expect_fault("read before: 7, as on Linux", attempt(tcs, &write, EENTER), ERESUME, 14, 7, heap + PAGE);
	return done();
}
