/* An instruction raises a signal that is blocked, and handled: the process dies of it. argv[1] is the signal's number. */
#include "enclave.h"

static void on_signal(int signo, siginfo_t *info, void *context)
{
	(void)signo, (void)info, (void)context;
	_exit(1);
}

int main(int argc, char **argv)
{
	int signo = argc > 1 ? atoi(argv[1]) : 0;
	struct enclave enclave;
	sigset_t all;

	if (argc > 2 && !strcmp(argv[2], "enclave")) {
		enclave_load(&enclave, NULL);
		ask(enclave_tcs(&enclave, 0), OP_NOP, 0, 0, 0);
	}
	handle(signo, on_signal);
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	if (argc > 3 && !strcmp(argv[3], "pending"))
		raise(signo);
	switch (signo) {
	case SIGILL:
		__asm__ volatile("ud2");
		break;
	case SIGTRAP:
		__asm__ volatile("int3");
		break;
	case SIGFPE:
		__asm__ volatile("idivl %%ecx" : : "a"(1), "d"(0), "c"(0));
		break;
	case SIGSEGV:
		__asm__ volatile("movb %%al, (%%rdx)" : : "a"(0), "d"(8l) : "memory");
	}
	return 2;
}
