/* clone3(CLONE_CLEAR_SIGHAND): the child handles nothing; what is ignored stays ignored, in spite of ENCLU before. */
#include "fault.h"

#include <linux/sched.h>
#include <sys/syscall.h>

#ifndef CLONE_CLEAR_SIGHAND
#define CLONE_CLEAR_SIGHAND 0x100000000ull
#endif

static const int handled[] = { SIGUSR1, SIGILL, SIGSEGV, SIGALRM }, ignored[] = { SIGUSR2, SIGTRAP, SIGBUS };

static void on_signal(int signo, siginfo_t *info, void *context)
{
	(void)signo, (void)info, (void)context;
}

static int wrong(void)
{
	struct sigaction now;
	int count = 0;

	for (size_t i = 0; i < sizeof handled / sizeof *handled; i++) {
		sigaction(handled[i], NULL, &now);
		count += now.sa_handler != SIG_DFL;
	}
	for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++) {
		sigaction(ignored[i], NULL, &now);
		count += now.sa_handler != SIG_IGN;
		kill(getpid(), ignored[i]);
	}
	return count;
}

static int ignores(void)
{
	return execl("/bin/sh", "sh", "-c", "kill -SEGV $$; kill -ILL $$; exit 42", NULL);
}

int main(int argc, char **argv)
{
	struct clone_args arguments = { .flags = CLONE_CLEAR_SIGHAND, .exit_signal = SIGCHLD };
	struct request request = { .op = OP_NOP };
	struct enclave enclave;
	struct raw_fault fault;
	int status;
	pid_t child;

	if (argc < 2)
		enclave_load(&enclave, NULL);
	for (size_t i = 0; i < sizeof handled / sizeof *handled; i++)
		handle(handled[i], on_signal);
	for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
		signal(ignored[i], SIG_IGN);
	fflush(stdout);
	child = syscall(SYS_clone3, &arguments, sizeof arguments);
	if (!child)
		_exit(wrong());
	waitpid(child, &status, 0);
	ok_eq(status, 0, "the child handles nothing, and ignores what its parent ignores");
	kill(getpid(), SIGUSR1);
	ok(true, "the parent handles signals");

	/* ENCLU is an exception to the host: ignored, it would have the kernel forget that it is. */
	signal(SIGILL, SIG_IGN);
	signal(SIGSEGV, SIG_IGN);
	if (argc < 2)
		raw_enter_count(EENTER, enclave_tcs(&enclave, 0), &request, &fault);
	kill(getpid(), SIGILL);
	kill(getpid(), SIGSEGV);
	ok(true, "ignored signals are ignored after an entry");
	ok_eq(in_child(ignores), 42, "and by the program that a child becomes");
	return done();
	(void)argv, (void)exec_again, (void)expect_both, (void)catch_signals;
}
