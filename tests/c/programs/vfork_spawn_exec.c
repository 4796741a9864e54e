/* vfork, posix_spawn and fork+exec from a process with an enclave; the enclave still works after each. */
#include "enclave.h"

#include <spawn.h>

extern char **environ;

static struct enclave enclave;

static void check(const char *name, pid_t child)
{
	struct request request = { .op = OP_ADD, .a = 30, .b = 4 };
	int status = -1;

	waitpid(child, &status, 0);
	ok_eq(status, 3 << 8, name);
	enclave_call(enclave_tcs(&enclave, 0), &request, NULL);
	ok_eq(request.result, 34, "the enclave still works");
}

int main(void)
{
	char *arguments[] = { "sh", "-c", "exit 3", NULL };
	pid_t child;

	enclave_load(&enclave, NULL);
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
	return done();
}
