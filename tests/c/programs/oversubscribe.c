/* An enclave larger than the EPC (run with --epc 4M): every page keeps its contents. */
#include "enclave.h"

#define PAGES 2048

int main(void)
{
	struct enclave_options options = { .heap_pages = PAGES };
	struct enclave enclave;
	int wrong = 0;

	enclave_load(&enclave, &options);
	for (uint64_t i = 0; i < PAGES; i++) {
		struct request request = { .op = OP_WRITE, .a = (uint64_t)enclave.base + enclave.heap + i * PAGE, .b = i * i + 7 };

		enclave_call(enclave_tcs(&enclave, 0), &request, NULL);
	}
	for (uint64_t i = 0; i < PAGES; i++) {
		struct request request = { .op = OP_READ, .a = (uint64_t)enclave.base + enclave.heap + i * PAGE };

		enclave_call(enclave_tcs(&enclave, 0), &request, NULL);
		wrong += request.result != i * i + 7;
	}
	ok_eq(wrong, 0, "contents");
	return done();
}
