/* A program that blocks SIGILL, SIGSEGV and so on still enters enclaves, and reads its mask back as it set it. */
#include "enclave.h"

int main(void)
{
	struct request request = { .op = OP_ADD, .a = 20, .b = 22 };
	struct enclave enclave;
	struct raw_fault fault;
	sigset_t all, before, now;
	int same = 0;

	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &before);
	enclave_load(&enclave, NULL);
	ok_eq(raw_enter_count(EENTER, enclave_tcs(&enclave, 0), &request, &fault), RAW_EXITED, "entered, all blocked");
	ok_eq(request.result, 42, "result");
	sigprocmask(SIG_BLOCK, NULL, &now);
	for (int i = 1; i < 32; i++)
		same += sigismember(&now, i) == (i != SIGKILL && i != SIGSTOP);
	ok_eq(same, 31, "the mask reads back as set");
	sigprocmask(SIG_SETMASK, &before, &now);
	ok(sigismember(&now, SIGILL) && sigismember(&now, SIGSEGV), "the old mask, too");
	sigprocmask(SIG_BLOCK, NULL, &now);
	ok(!sigismember(&now, SIGILL), "unblocked again");
	return done();
}
