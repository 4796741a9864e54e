/* Everything of an enclave is unmapped and closed while a thread is inside: its ERESUME faults, and life goes on. */
#include "enclave.h"

int main(void)
{
	struct request request = { .op = OP_ADD, .a = 1, .b = 2 };
	struct enclave enclave;
	struct spinner spinner;

	for (int i = 0; i < 5; i++) {
		enclave_load(&enclave, NULL);
		spinner_start(&spinner, enclave_tcs(&enclave, 0));
		enclave_unload(&enclave);
		expect_fault("the thread learns that its enclave is gone", spinner_join(&spinner), ERESUME, 14, 4,
			     (uint64_t)enclave.base);
	}
	enclave_load(&enclave, NULL);
	expect_exit("another enclave works", attempt(enclave_tcs(&enclave, 0), &request, EENTER));
	return done();
}
