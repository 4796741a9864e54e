/* Misuse: ERESUME where no AEX has been. */
#include "enclave.h"

int main(void)
{
	struct request request = { .op = OP_NOP };
	struct enclave enclave;

	enclave_load(&enclave, NULL);
	attempt(enclave_tcs(&enclave, 0), &request, ERESUME);
	return 1;
}
