/* fork() while another thread is inside: the thread goes on in the parent, the child has none of the enclave. */
#include "enclave.h"

int main(void)
{
	struct request request = { .op = OP_ADD, .a = 1, .b = 2 };
	struct enclave enclave;
	struct spinner spinner;
	int status;
	pid_t child;

	enclave_load(&enclave, NULL);
	for (int i = 0; i < 5; i++) {
		spinner_start(&spinner, enclave_tcs(&enclave, 0));
		fflush(stdout);
		child = fork();
		if (!child) {
			struct outcome got = attempt(enclave_tcs(&enclave, 1), &request, EENTER);
			struct enclave own;

			if (got.function != EENTER || got.vector != 14)
				_exit(1);
			enclave_load(&own, NULL);
			_exit(ask(enclave_tcs(&own, 0), OP_ADD, 40, 2, 0));
		}
		waitpid(child, &status, 0);
		ok_eq(status, 42 << 8, "the child gets #PF, and can load an enclave of its own");
		expect_exit("another TCS of the parent's works", attempt(enclave_tcs(&enclave, 1), &request, EENTER));
		spinner.stop = 1;
		expect_exit("the thread inside went on", spinner_join(&spinner));
	}
	return done();
}
