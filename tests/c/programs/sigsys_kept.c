/* SYSCALL in an enclave is #UD, and changes nothing about SIGSYS, whether it is blocked, handled or ignored. */
#include "enclave.h"

static volatile int signals;

static void on_sigsys(int signo, siginfo_t *info, void *context)
{
	(void)info, (void)context;
	signals += signo == SIGSYS;
}

static void system_call(void *tcs, const char *when)
{
	struct request request = { .op = OP_SYSCALL };

	expect_fault(when, attempt(tcs, &request, EENTER), ERESUME, 6, 0, 0);
	drop_frame(tcs);
}

int main(void)
{
	struct sigaction action;
	struct enclave enclave;
	sigset_t set, found;
	void *tcs;

	enclave_load(&enclave, NULL);
	tcs = enclave_tcs(&enclave, 0);
	for (int i = 0; i < 10; i++)
		ask(tcs, OP_NOP, 0, 0, 0);
	system_call(tcs, "as it is");
	handle(SIGSYS, on_sigsys);
	system_call(tcs, "handled");
	sigemptyset(&set);
	sigaddset(&set, SIGSYS);
	sigprocmask(SIG_BLOCK, &set, NULL);
	for (int i = 0; i < 3; i++)
		system_call(tcs, "blocked");
	sigprocmask(SIG_SETMASK, NULL, &found);
	ok_eq(sigismember(&found, SIGSYS), 1, "it is still blocked");
	raise(SIGSYS);
	ok_eq(signals, 0, "waits");
	system_call(tcs, "while one waits");
	ok_eq(signals, 0, "still does");
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	ok_eq(signals, 1, "and is handled once it may be");
	signal(SIGSYS, SIG_IGN);
	for (int i = 0; i < 3; i++)
		system_call(tcs, "ignored");
	sigaction(SIGSYS, NULL, &action);
	ok(action.sa_handler == SIG_IGN, "it is still ignored");
	raise(SIGSYS);
	sigprocmask(SIG_SETMASK, NULL, &found);
	ok_eq(sigismember(&found, SIGSYS), 0, "and not blocked");
	return done();
}
