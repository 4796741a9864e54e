/* A page that the EPCM lets be written and executed is executed although its mapping lets nobody write to it. */
#include "enclave.h"

#define RWX (PT_REG_FLAGS | 7)

int main(void)
{
	struct enclave_options options = { .heap_pages = 1, .spare_pages = 1 };
	struct request call = { .op = OP_CALL }, write = { .op = OP_WRITE, .b = 0xc3 };
	struct enclave enclave;
	uint64_t heap, spare;
	void *tcs;

	enclave_load(&enclave, &options);
	tcs = enclave_tcs(&enclave, 0);
	heap = (uint64_t)enclave.base + enclave.heap;
	call.a = write.a = spare = (uint64_t)enclave.base + enclave.spare;
	ask(tcs, OP_WRITE, heap, 0xc3, 0); /* RET */
	ok_eq(ask(tcs, OP_EACCEPTCOPY, spare, RWX, heap), 0, "the page is accepted");
	ok_eq(mprotect((void *)spare, PAGE, PROT_READ | PROT_EXEC), 0, "mapped to be executed");
	expect_exit("executed", attempt(tcs, &call, EENTER));
	expect_fault("not written", attempt(tcs, &write, EENTER), ERESUME, 14, 7, spare);
	drop_frame(tcs);
	ok_eq(mprotect((void *)spare, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC), 0, "mapped to be written, too");
	expect_exit("written", attempt(tcs, &write, EENTER));
	expect_exit("executed again", attempt(tcs, &call, EENTER));
	return done();
}
