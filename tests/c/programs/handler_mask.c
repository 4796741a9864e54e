/* While a handler runs, its sa_mask and its own signal are blocked, as far as the program can tell; then no more. */
#include "enclave.h"

#include <setjmp.h>

static volatile int runs, inside, nested, in_frame;
static sigjmp_buf away;

static bool blocked(const sigset_t *set)
{
	return sigismember(set, SIGSEGV) && !sigismember(set, SIGTRAP);
}

static sigset_t mask(void)
{
	sigset_t now;

	sigprocmask(SIG_BLOCK, NULL, &now);
	return now;
}

static void on_segv(int signo, siginfo_t *info, void *context)
{
	sigset_t now = mask();

	(void)signo, (void)info, (void)context;
	nested |= inside;
	inside = 1;
	if (++runs == 1) {
		now = mask();
		ok(blocked(&now), "its own signal is blocked in a handler");
		raise(SIGSEGV);
		ok_eq(runs, 1, "and waits");
	}
	inside = 0;
}

static void on_usr1(int signo, siginfo_t *info, void *context)
{
	sigset_t now = mask();

	(void)signo, (void)info;
	runs++;
	in_frame = sigismember(&((ucontext_t *)context)->uc_sigmask, SIGTRAP);
	ok(sigismember(&now, SIGSEGV) && sigismember(&now, SIGILL), "sa_mask is blocked in a handler");
}

static void on_fpe(int signo, siginfo_t *info, void *context)
{
	(void)signo, (void)info;
	sigaddset(&((ucontext_t *)context)->uc_sigmask, SIGBUS);
}

static void leave(int signo)
{
	(void)signo;
	siglongjmp(away, 1);
}

int main(void)
{
	struct sigaction action = { .sa_sigaction = on_segv, .sa_flags = SA_SIGINFO }, old;
	struct request request = { .op = OP_NOP };
	struct enclave enclave;
	sigset_t trap, now;

	enclave_load(&enclave, NULL);
	sigaction(SIGSEGV, &action, NULL);
	raise(SIGSEGV);
	ok_eq(runs, 2, "delivered again after the handler");
	ok_eq(nested, 0, "not before");
	now = mask();
	ok(!sigismember(&now, SIGSEGV), "unblocked after the handler");

	sigfillset(&action.sa_mask);
	action.sa_sigaction = on_usr1;
	action.sa_flags |= SA_RESETHAND;
	sigaction(SIGUSR1, &action, NULL);
	sigemptyset(&trap);
	sigaddset(&trap, SIGTRAP);
	sigprocmask(SIG_BLOCK, &trap, NULL);
	runs = 0;
	raise(SIGUSR1);
	ok_eq(runs, 1, "handled");
	ok_eq(in_frame, 1, "uc_sigmask is the mask that was in force");
	now = mask();
	ok(sigismember(&now, SIGTRAP) && !sigismember(&now, SIGILL), "which is in force again");
	sigaction(SIGUSR1, NULL, &old);
	ok(old.sa_handler == SIG_DFL, "SA_RESETHAND");
	sigprocmask(SIG_UNBLOCK, &trap, NULL);

	sigemptyset(&action.sa_mask);
	action.sa_sigaction = on_fpe;
	action.sa_flags = SA_SIGINFO;
	sigaction(SIGFPE, &action, &old);
	raise(SIGFPE);
	now = mask();
	ok(sigismember(&now, SIGBUS), "a handler's change of uc_sigmask counts");
	ok_eq(enclave_call(enclave_tcs(&enclave, 0), &request, NULL), 0, "and enclaves are entered all the same");

	signal(SIGSEGV, leave);
	for (int i = 0; i < 3; i++)
		if (!sigsetjmp(away, 1))
			*(volatile int *)8 = i;
	now = mask();
	ok(!sigismember(&now, SIGSEGV), "siglongjmp restores the mask");
	return done();
}
