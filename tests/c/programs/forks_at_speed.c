/* A program that has entered an enclave forks; children and grandchildren have enclaves of their own at the same addresses,
   and then the parent goes on with its own. */
#include "enclave.h"

static long calls = 5000;

static long work(struct enclave *enclave)
{
	long wrong = 0;

	for (long i = 0; i < calls; i++) {
		struct request request = { .op = OP_ADD, .a = i, .b = getpid() };

		wrong += attempt(enclave_tcs(enclave, 0), &request, EENTER).function != EEXIT || request.result != i + request.b;
	}
	return wrong;
}

static int child(int generation)
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		struct enclave enclave;
		long wrong;

		enclave_load(&enclave, NULL);
		wrong = work(&enclave);
		if (generation < 2)
			wrong += child(generation + 1) + child(generation + 1);
		_exit(wrong ? 1 : 0);
	}
	waitpid(pid, &status, 0);
	return status;
}

int main(int argc, char **argv)
{
	struct enclave enclave;

	if (argc > 1)
		calls = atol(argv[1]);
	enclave_load(&enclave, NULL);
	ok_eq(work(&enclave), 0, "the parent's calls");
	ok_eq(child(0), 0, "those of its children and theirs");
	ok_eq(work(&enclave), 0, "the parent's again");
	return done();
}
