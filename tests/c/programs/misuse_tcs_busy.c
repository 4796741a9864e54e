/* Misuse: two threads enter by the same TCS. */
#include "enclave.h"

int main(void)
{
	struct request request = { .op = OP_NOP };
	struct enclave enclave;
	struct spinner spinner;

	enclave_load(&enclave, NULL);
	spinner_start(&spinner, enclave_tcs(&enclave, 0));
	attempt(enclave_tcs(&enclave, 0), &request, EENTER);
	spinner.stop = 1;
	spinner_join(&spinner);
	return 1;
}
