/* Misuse: the enclave leaves to an address that is none. */
#include "enclave.h"

int main(void)
{
	struct request request = { .op = OP_ENCLU, .a = EEXIT, .b = 1ul << 47 };
	struct enclave enclave;

	enclave_load(&enclave, NULL);
	attempt(enclave_tcs(&enclave, 0), &request, EENTER);
	return 1;
}
