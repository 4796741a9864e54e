/* Processes killed while inside, one after another, each with three quarters of an EPC of 1M. */
#include "enclave.h"

int main(void)
{
	struct enclave_options options = { .heap_pages = 130 };
	int status;

	for (int i = 0; i < 6; i++) {
		int ready[2];
		char byte;
		pid_t child;

		pipe(ready);
		child = fork();
		if (!child) {
			struct enclave enclave;
			struct spinner spinner;

			enclave_load(&enclave, &options);
			for (int page = 0; page < 130; page++)
				ask(enclave_tcs(&enclave, 1), OP_WRITE, (uint64_t)enclave.base + enclave.heap + page * PAGE, page, 0);
			spinner_start(&spinner, enclave_tcs(&enclave, 0));
			if (write(ready[1], "x", 1) == 1)
				pause();
			_exit(1);
		}
		close(ready[1]);
		ok_eq(read(ready[0], &byte, 1), 1, "a child is inside");
		kill(child, SIGKILL);
		waitpid(child, &status, 0);
		ok_eq(status, SIGKILL, "killed there");
		close(ready[0]);
	}
	return done();
}
