/* Is in an enclave until a power event comes, then goes on until its input ends. */
#include "fault.h"

int main(void)
{
	struct request request = { .op = OP_NOP };
	struct enclave enclave;
	struct spinner spinner;
	char line[8] = "";

	enclave_load(&enclave, NULL);
	spinner_start(&spinner, enclave_tcs(&enclave, 0));
	expect_exit("entered", attempt(enclave_tcs(&enclave, 1), &request, EENTER));
	expect_fault("who was inside is told", spinner_join(&spinner), ERESUME, 14, 0x8005,
		     (uint64_t)enclave_tcs(&enclave, 0));
	fgets(line, sizeof(line), stdin);
	return done();
}
