/* Threads whose enclave faults at the same time: each is told of its own fault, with its own error code. */
#include "fault.h"

#define FAULTS 60

static struct enclave enclave;
static volatile int wrong;

static void *work(void *argument)
{
	uint64_t index = (uint64_t)argument, page = (uint64_t)enclave.base + enclave.heap + index * PAGE;
	void *tcs = enclave_tcs(&enclave, index);

	for (int i = 0; i < FAULTS; i++) {
		bool write = (index + i) % 2;
		struct request request = { .op = write ? OP_WRITE : OP_READ, .a = write ? page : (uint64_t)tcs };
		struct outcome got = attempt(tcs, &request, EENTER);

		wrong += got.function != ERESUME || got.vector != 14 || got.error != (write ? 7 : 0x8005);
		wrong += got.address != request.a;
		drop_frame(tcs);
	}
	return NULL;
}

int main(void)
{
	struct enclave_options options = { .heap_pages = TEST_TCS_COUNT };

	enclave_load(&enclave, &options);
	for (int i = 0; i < TEST_TCS_COUNT; i++)
		ask(enclave_tcs(&enclave, 0), OP_WRITE, (uint64_t)enclave.base + enclave.heap + i * PAGE, 1, 0);
	mprotect(enclave.base + enclave.heap, TEST_TCS_COUNT * PAGE, PROT_READ);
	at_each_tcs(work);
	ok_eq(wrong, 0, "every fault is told as it was");
	return done();
}
