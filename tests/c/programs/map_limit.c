/* A program with as many mappings as it may have (vm.max_map_count) uses its enclave: an exception, never a loop. */
#include "enclave.h"

int main(void)
{
	struct enclave_options options = { .heap_pages = 64 };
	struct request write = { .op = OP_WRITE };
	struct outcome got;
	struct enclave enclave;
	uint64_t heap, count = 0;
	uint8_t *big;

	enclave_load(&enclave, &options);
	heap = (uint64_t)enclave.base + enclave.heap;
	ok_eq(ask(enclave_tcs(&enclave, 0), OP_ADD, 1, 2, 0), 3, "it works");
	ok_eq(mprotect((void *)heap, 64 * PAGE, PROT_NONE), 0, "its heap is hidden");
	big = mmap(NULL, 1ul << 34, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	while (count < 1 << 20 && !mprotect(big + count * 2 * PAGE, PAGE, PROT_READ))
		count++;
	ok(errno == ENOMEM && count < 1 << 20, "no more mappings");
	ok(mprotect((void *)(heap + 32 * PAGE), PAGE, PROT_READ | PROT_WRITE) == 0, "mprotect of a page of it");
	write.a = heap + 32 * PAGE;
	got = attempt(enclave_tcs(&enclave, 0), &write, EENTER);
	expect_fault("a page that would need one more", got, got.function == EENTER ? EENTER : ERESUME, 14, got.error & ~1, got.address);
	ok(!(got.error & 0x8000), "is not there: the EPCM has no say in it");
	munmap(big, 1ul << 34);
	if (got.function == ERESUME)
		drop_frame(enclave_tcs(&enclave, 0));
	mprotect((void *)heap, 64 * PAGE, PROT_READ | PROT_WRITE);
	ask(enclave_tcs(&enclave, 0), OP_WRITE, write.a, 5, 0);
	ok_eq(ask(enclave_tcs(&enclave, 0), OP_READ, write.a, 0, 0), 5, "with room for mappings it works again");
	return done();
}
