/* A child that computes in its own enclave is stopped and continued; its parent sees both, the result is right. */
#include "enclave.h"

static int child_main(void)
{
	struct request request = { .op = OP_CHECKSUM, .a = 400000000, .b = 1 };
	uint64_t want = 1;
	struct enclave enclave;

	enclave_load(&enclave, NULL);
	enclave_call(enclave_tcs(&enclave, 0), &request, NULL);
	for (uint64_t i = 0; i < request.a; i++)
		want = checksum_round(want);
	return request.result == want ? 11 : 1;
}

int main(void)
{
	int status;
	pid_t child = fork();

	if (!child)
		_exit(child_main());
	for (int i = 0; i < 3; i++) {
		usleep(200000);
		kill(child, SIGSTOP);
		ok(waitpid(child, &status, WUNTRACED) == child && WIFSTOPPED(status), "stopped");
		ok_eq(WSTOPSIG(status), SIGSTOP, "by SIGSTOP");
		kill(child, SIGCONT);
		ok(waitpid(child, &status, WCONTINUED) == child && WIFCONTINUED(status), "continued");
	}
	waitpid(child, &status, 0);
	ok_eq(status, 11 << 8, "the child's result");
	return done();
}
