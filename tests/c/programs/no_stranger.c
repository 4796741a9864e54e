/*
 * Who waits for children gets its own, though one of its descendants, or another thread, has an enclave mapped, for which
 * the machine needs a task. `subreaper`: an ancestor is one (PR_SET_CHILD_SUBREAPER); `given`: it was one when it began;
 * `int80`: it asked by INT 80H; `init`: it is the init of a PID namespace, where that is allowed; `wall`, `waitid`: another
 * thread of the process waits for children of any kind. `native` in front: without the enclave.
 */
#include "enclave.h"

#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#define NR_PRCTL_I386 172

static bool natively;
static volatile pid_t waiter;

static void use_an_enclave(void)
{
	struct enclave enclave;

	if (natively)
		return;
	enclave_load(&enclave, NULL);
	ask(enclave_tcs(&enclave, 0), OP_NOP, 0, 0, 0);
}

/* The enclave is a grandchild's, whose parent is waiting for it. */
static void ancestor(void)
{
	int status = -1;
	pid_t child = fork();

	if (!child) {
		pid_t grandchild = fork();

		if (!grandchild) {
			use_an_enclave();
			_exit(0);
		}
		_exit(waitpid(-1, &status, 0) != grandchild || status || waitpid(-1, NULL, __WALL) != -1);
	}
	ok_eq(waitpid(-1, &status, __WALL), child, "the first that is found is the child");
	ok_eq(status, 0, "which has found its own, and no other");
	ok(waitpid(-1, &status, __WALL) == -1 && errno == ECHILD, "no other child");
}

static void *waits_for_all(void *by_waitid)
{
	siginfo_t info = { 0 };

	waiter = syscall(SYS_gettid);
	if (!by_waitid)
		return (void *)(long)waitpid(-1, NULL, __WALL);
	return (void *)(long)(waitid(P_ALL, 0, &info, WEXITED | __WCLONE | __WALL) ? -1 : info.si_pid);
}

static void until_it_waits(long number)
{
	char path[64];
	long found = -1;

	while (!waiter)
		sched_yield();
	snprintf(path, sizeof(path), "/proc/self/task/%d/syscall", waiter);
	while (found != number) {
		FILE *file = fopen(path, "r");

		if (!file || fscanf(file, "%ld", &found) != 1)
			found = -1;
		if (file)
			fclose(file);
	}
}

static void another_thread(bool by_waitid)
{
	pthread_t thread;
	void *found;
	int pipes[2];
	char byte;
	pid_t child;

	pipe(pipes);
	child = fork();
	if (!child) {
		close(pipes[1]);
		_exit(read(pipes[0], &byte, 1));
	}
	pthread_create(&thread, NULL, waits_for_all, by_waitid ? (void *)1 : NULL);
	until_it_waits(by_waitid ? SYS_waitid : SYS_wait4);
	use_an_enclave();
	close(pipes[1]);
	pthread_join(thread, &found);
	ok_eq((pid_t)(long)found, child, "what the thread finds is the child");
	ok(waitpid(-1, NULL, __WALL) == -1 && errno == ECHILD, "no other child");
}

int main(int argc, char **argv)
{
	const char *mode;
	int status;

	natively = argc > 2;
	mode = argv[argc - 1];
	if (!strcmp(mode, "wall") || !strcmp(mode, "waitid")) {
		another_thread(!strcmp(mode, "waitid"));
		return done();
	}
	if (!strcmp(mode, "subreaper"))
		prctl(PR_SET_CHILD_SUBREAPER, 1);
	if (!strcmp(mode, "int80")) {
		__asm__ volatile("int $0x80" : "=a"(status) : "0"(NR_PRCTL_I386), "b"(PR_SET_CHILD_SUBREAPER), "c"(1) : "memory", "r8", "r9", "r10", "r11");
		ok_eq(status, 0, "prctl by INT 80H");
	}
	if (!strcmp(mode, "init")) {
		if (unshare(CLONE_NEWPID)) {
			ok(errno == EPERM, "no PID namespaces for everybody here");
			return done();
		}
		if (fork()) {
			wait(&status);
			return WEXITSTATUS(status);
		}
	}
	prctl(PR_GET_CHILD_SUBREAPER, &status);
	ok_eq(status, strcmp(mode, "init") != 0, "whether it is a subreaper");
	ancestor();
	return done();
}
