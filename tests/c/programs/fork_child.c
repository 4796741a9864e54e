/* A forked child sees the enclave's addresses and may not enter; the parent still may. */
#include "enclave.h"

int main(void)
{
	struct request request = { .op = OP_ADD, .a = 1, .b = 2 };
	struct enclave enclave;
	int status;
	pid_t child;

	enclave_load(&enclave, NULL);
	expect_exit("before the fork", attempt(enclave_tcs(&enclave, 0), &request, EENTER));
	fflush(stdout);
	child = fork();
	if (!child) {
		struct outcome got = attempt(enclave_tcs(&enclave, 0), &request, EENTER);

		_exit(got.function == EENTER && got.vector == 14 ? 42 : 1);
	}
	waitpid(child, &status, 0);
	ok_eq(status, 42 << 8, "#PF in the child");
	ok_eq(ask(enclave_tcs(&enclave, 0), OP_ADD, 5, 2, 0), 7, "after the fork");
	return done();
}
