/*
 * The floor under a pair: a tracer in C that does nothing at two SIGILL stops but read and write the registers.
 * Both processes on one CPU.  Microseconds for two stops, on stdout.
 */
#include "tracee.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/user.h>
#include <time.h>

static void enclus(void)
{
	for (;;)
		__asm__ volatile(".byte 0x0f, 0x01, 0xd7" : : "a"(2) : "memory"); /* ENCLU: #UD here */
}

int main(int argc, char **argv)
{
	long n = 2 * (argc > 1 ? atol(argv[1]) : 20000);
	struct user_regs_struct regs;
	struct timespec a, b;
	pid_t pid = tracee(enclus);
	int status;

	ptrace(PTRACE_CONT, pid, 0, 0);
	for (long i = -2000; i < n; i++) {
		if (i == 0)
			clock_gettime(CLOCK_MONOTONIC, &a);
		waitpid(pid, &status, 0);
		ptrace(PTRACE_GETREGS, pid, 0, &regs);
		regs.rip += 3;
		ptrace(PTRACE_SETREGS, pid, 0, &regs);
		ptrace(PTRACE_CONT, pid, 0, 0);
	}
	clock_gettime(CLOCK_MONOTONIC, &b);
	kill(pid, SIGKILL);
	printf("%.3f\n", ((b.tv_sec - a.tv_sec) * 1e9 + (b.tv_nsec - a.tv_nsec)) / (n / 2) / 1e3);
	return 0;
}
