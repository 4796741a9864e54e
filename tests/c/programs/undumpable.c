/* A program that hides its memory from others (as SGX hosts do to keep secrets out of core dumps) uses enclaves. */
#include "enclave.h"

#include <sys/prctl.h>

int main(void)
{
	struct enclave enclave;
	pid_t child;
	int status;

	ok_eq(prctl(PR_GET_DUMPABLE), 1, "dumpable at first");
	ok_eq(prctl(PR_SET_DUMPABLE, 0), 0, "no more");
	ok_eq(prctl(PR_GET_DUMPABLE), 0, "told so");
	enclave_load(&enclave, NULL);
	ok_eq(ask(enclave_tcs(&enclave, 0), OP_ADD, 2, 3, 0), 5, "enters an enclave");
	fflush(stdout);
	child = fork();
	if (!child)
		_exit(prctl(PR_GET_DUMPABLE));
	waitpid(child, &status, 0);
	ok_eq(status, 0, "nor is a child");
	ok_eq(prctl(PR_SET_DUMPABLE, 1), 0, "dumpable again");
	ok_eq(prctl(PR_GET_DUMPABLE), 1, "told so");
	ok(prctl(PR_SET_DUMPABLE, 7) == -1 && errno == EINVAL, "no other value");
	return done();
}
