/* Misuse: a forked child enters the enclave of its parent. */
#include "enclave.h"

int main(void)
{
	struct request request = { .op = OP_NOP };
	struct enclave enclave;
	int status = 0;

	enclave_load(&enclave, NULL);
	if (fork() == 0) {
		attempt(enclave_tcs(&enclave, 0), &request, EENTER);
		_exit(1);
	}
	wait(&status);
	return WEXITSTATUS(status);
}
