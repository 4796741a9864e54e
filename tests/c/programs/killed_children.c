/* Forks as many children as it is told, one after the other, each with an enclave in which it does all that it can; they are
   to be killed. */
#include "enclave.h"

static int child(void)
{
	struct request ud2 = { .op = OP_UD2 }, fix = { .op = OP_FIX_RIP, .a = 2 }, drop = { .op = OP_EDECCSSA };
	struct enclave enclave;
	void *tcs;

	enclave_load(&enclave, NULL);
	tcs = enclave_tcs(&enclave, 0);
	for (int i = 0; i < 3; i++) {
		attempt(tcs, &ud2, EENTER);
		attempt(tcs, &fix, EENTER);
		attempt(tcs, &ud2, ERESUME);
		attempt(tcs, &ud2, EENTER);
		attempt(tcs, &drop, EENTER);
	}
	return 0;
}

int main(int argc, char **argv)
{
	long count = argc > 1 ? atol(argv[1]) : 3, killed = 0;
	int status;

	for (long i = 0; i < count; i++) {
		pid_t pid = fork();

		if (!pid)
			_exit(child());
		waitpid(pid, &status, 0);
		killed += WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
	}
	printf("%ld\n", killed);
	return 0;
}
