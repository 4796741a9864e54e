/* Several processes open the device until the machine itself has no descriptors for them: an errno, and all go on. */
#include "enclave.h"

#include <sys/syscall.h>

#define PROCESSES 6
#define EACH 20

/* Processes, each the parent of the next, have open what they can; 0 if one was refused with ENFILE. */
static int opens(int depth)
{
	int count = 0, error, first = dup(0), status;
	pid_t child;

	close(first);
	while (count < EACH && open("/dev/sgx_enclave", O_RDWR) >= 0)
		count++;
	error = errno;
	if (count < EACH) {
		close_range(first, ~0u, 0);
		return error != ENFILE || (count && open("/dev/sgx_enclave", O_RDWR) < 0);
	}
	if (depth == PROCESSES)
		return 2;
	child = fork();
	if (!child)
		_exit(opens(depth + 1));
	return waitpid(child, &status, 0) == child && WIFEXITED(status) ? WEXITSTATUS(status) : 3;
}

int main(void)
{
	struct enclave_options options = { .heap_pages = 64 };
	struct enclave enclave;
	void *tcs;

	enclave_load(&enclave, &options);
	tcs = enclave_tcs(&enclave, 0);
	fflush(stdout);
	ok_eq(opens(1), 0, "ENFILE; closing what is open makes room");
	for (int i = 0; i < 64; i++)
		ask(tcs, OP_WRITE, (uint64_t)enclave.base + enclave.heap + i * PAGE, i, 0);
	ok_eq(ask(tcs, OP_READ, (uint64_t)enclave.base + enclave.heap + 5 * PAGE, 0, 0), 5, "what was open before works");
	return done();
}
