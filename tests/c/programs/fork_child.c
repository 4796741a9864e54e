/* A forked child sees the enclave's addresses and may not enter; the parent still may. */
#include "enclave.h"

int main(void)
{
	struct request request = { .op = OP_ADD, .a = 1, .b = 2 };
	struct sgx_enclave_run run;
	struct enclave enclave;
	int status;
	pid_t child;

	enclave_load(&enclave, NULL);
	enclave_call(enclave_tcs(&enclave, 0), &request, NULL);
	ok_eq(request.result, 3, "before the fork");
	fflush(stdout);
	child = fork();
	if (!child) {
		int result = enclave_call(enclave_tcs(&enclave, 0), &request, &run);

		_exit(result == 0 && run.function == EENTER && run.exception_vector == 14 ? 42 : 1);
	}
	waitpid(child, &status, 0);
	ok_eq(status, 42 << 8, "#PF in the child");
	request.a = 5;
	enclave_call(enclave_tcs(&enclave, 0), &request, NULL);
	ok_eq(request.result, 7, "after the fork");
	return done();
}
