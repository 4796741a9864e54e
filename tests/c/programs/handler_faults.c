/* A handler that faults with its own signal blocked ends the process, as natively: it does not run again. */
#include "enclave.h"

#include <setjmp.h>

static int wire[2];
static jmp_buf away;

static void fault_again(int signo)
{
	(void)signo;
	if (write(wire[1], "x", 1) == 1)
		*(volatile int *)8 = 1;
}

static void jump_away(int signo)
{
	(void)signo;
	longjmp(away, 1);
}

static void twice(void)
{
	signal(SIGSEGV, fault_again);
	*(volatile int *)8 = 1;
}

static void jump_without_mask(void)
{
	signal(SIGSEGV, jump_away);
	if (!_setjmp(away))
		*(volatile int *)8 = 1;
	fault_again(0);
}

static void masked(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGSEGV);
	signal(SIGSEGV, fault_again);
	sigprocmask(SIG_BLOCK, &set, NULL);
	fault_again(0);
}

static void expect(const char *what, void (*child)(void))
{
	char got[8];
	int status;
	pid_t pid;

	if (pipe(wire))
		exit(1);
	pid = fork();
	if (!pid) {
		child();
		_exit(0);
	}
	waitpid(pid, &status, 0);
	close(wire[1]);
	printf("# %s\n", what);
	ok_eq(read(wire[0], got, sizeof(got)), 1, "ran once");
	ok(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV, "killed by SIGSEGV: %#x", status);
	close(wire[0]);
}

int main(void)
{
	struct enclave enclave;

	enclave_load(&enclave, NULL);
	expect("a fault in the handler", twice);
	expect("a handler left by longjmp, which restores no mask", jump_without_mask);
	expect("a fault while blocked", masked);
	return done();
}
