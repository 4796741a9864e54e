/*
 * ERESUME, an access that the EPCM refuses, AEX and the vDSO's fixup with its error code: microseconds a round, on
 * stdout.
 */
#include "enclave.h"

#include <time.h>

static struct enclave enclave;
static struct sgx_enclave_run run;

static void enter(unsigned int leaf)
{
	void *tcs = enclave_tcs(&enclave, 0);
	struct request read_tcs = { .op = OP_READ, .a = (uint64_t)tcs };

	vdso_enter(tcs, &read_tcs, leaf, &run);
	if (run.function != ERESUME || run.exception_error_code != 0x8005) {
		fprintf(stderr, "leaf %u, error code %#x\n", run.function, run.exception_error_code);
		exit(1);
	}
}

int main(int argc, char **argv)
{
	long n = argc > 1 ? atol(argv[1]) : 4000;
	struct timespec a, b;

	enclave_load(&enclave, NULL);
	enter(EENTER);
	for (int i = 0; i < 200; i++)
		enter(ERESUME);
	clock_gettime(CLOCK_MONOTONIC, &a);
	for (long i = 0; i < n; i++)
		enter(ERESUME);
	clock_gettime(CLOCK_MONOTONIC, &b);
	printf("%.3f\n", ((b.tv_sec - a.tv_sec) * 1e9 + (b.tv_nsec - a.tv_nsec)) / n / 1e3);
	return 0;
}
