/*
 * The floor under a pair: a tracer in C that does nothing at two SIGILL stops but read and write the registers.
 * Both processes on one CPU.  Microseconds for two stops, on stdout.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	long n = 2 * (argc > 1 ? atol(argv[1]) : 20000);
	struct user_regs_struct regs;
	struct timespec a, b;
	cpu_set_t one;
	int status;
	pid_t pid;

	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	sched_setaffinity(0, sizeof(one), &one);
	pid = fork();
	if (!pid) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
		for (;;)
			__asm__ volatile(".byte 0x0f, 0x01, 0xd7" : : "a"(2) : "memory"); /* ENCLU: #UD here */
	}
	waitpid(pid, &status, 0);
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
