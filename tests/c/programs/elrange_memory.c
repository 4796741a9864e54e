/* A difference from hardware, which raises #PF with the SGX bit: ordinary memory mapped into ELRANGE serves an enclave. */
#include "enclave.h"

int main(void)
{
	struct enclave_options options = { .heap_pages = 1 };
	struct request report = { .op = OP_ENCLU, .a = 0 };
	struct enclave enclave;
	uint64_t *plain;
	void *tcs;

	enclave_load(&enclave, &options);
	tcs = enclave_tcs(&enclave, 0);
	plain = mmap(enclave.base + enclave.heap, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	*plain = 42;
	ok_eq(ask(tcs, OP_READ, (uint64_t)plain, 0, 0), 42, "read (hardware: #PF 8005H)");
	report.b = report.c = report.d = (uint64_t)plain;
	expect_fault("an operand of ENCLU it cannot be", attempt(tcs, &report, EENTER), ERESUME, 14, 0x8005, (uint64_t)plain);
	return done();
}
