/* Misuse: the enclave makes a system call. */
#include "enclave.h"

int main(void)
{
	struct request request = { .op = OP_SYSCALL };
	struct enclave enclave;

	enclave_load(&enclave, NULL);
	attempt(enclave_tcs(&enclave, 0), &request, EENTER);
	return 1;
}
