/* vfork, posix_spawn and fork+exec while a thread is inside an enclave; it goes on, and the enclave works after each. */
#include "enclave.h"

#include <spawn.h>

extern char **environ;

static struct enclave enclave;

static void check(const char *name, pid_t child)
{
	int status = -1;

	waitpid(child, &status, 0);
	ok_eq(status, 3 << 8, name);
	ok_eq(ask(enclave_tcs(&enclave, 0), OP_ADD, 30, 4, 0), 34, "the enclave still works");
}

int main(void)
{
	char *arguments[] = { "sh", "-c", "exit 3", NULL };
	struct spinner spinner;
	sigset_t ended;
	pid_t child;

	enclave_load(&enclave, NULL);
	/* Else the thread inside leaves the enclave for it, whenever the other happens to be in the kernel. */
	sigemptyset(&ended);
	sigaddset(&ended, SIGCHLD);
	pthread_sigmask(SIG_BLOCK, &ended, NULL);
	spinner_start(&spinner, enclave_tcs(&enclave, 1));
	pthread_sigmask(SIG_UNBLOCK, &ended, NULL);
	child = vfork();
	if (!child) {
		execv("/bin/sh", arguments);
		_exit(1);
	}
	check("vfork and exec", child);
	posix_spawn(&child, "/bin/sh", NULL, NULL, arguments, environ);
	check("posix_spawn", child);
	child = fork();
	if (!child) {
		execv("/bin/sh", arguments);
		_exit(1);
	}
	check("fork and exec", child);
	spinner.stop = 1;
	expect_exit("the thread inside went on", spinner_join(&spinner));
	return done();
}
