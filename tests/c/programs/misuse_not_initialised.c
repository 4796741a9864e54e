/* Misuse: an enclave is entered before EINIT. */
#include "enclave.h"

int main(void)
{
	struct enclave_options options = { .no_init = true };
	struct request request = { .op = OP_NOP };
	struct enclave enclave;

	enclave_load(&enclave, &options);
	attempt(enclave_tcs(&enclave, 0), &request, EENTER);
	return 1;
}
