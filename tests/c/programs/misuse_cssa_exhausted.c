/* Misuse: exceptions nest until no SSA frame is left, as handlers fault that nobody gives up. */
#include "enclave.h"

int main(void)
{
	struct request request = { .op = OP_UD2 };
	struct enclave enclave;

	enclave_load(&enclave, NULL);
	for (int i = 0; i <= TEST_SSA_FRAMES; i++)
		attempt(enclave_tcs(&enclave, 0), &request, EENTER);
	return 1;
}
