/* EENTER and EEXIT of an empty request through the vDSO: microseconds a pair, on stdout. */
#include "enclave.h"

#include <time.h>

int main(int argc, char **argv)
{
	long n = argc > 1 ? atol(argv[1]) : 20000;
	struct request nop = { .op = OP_NOP };
	struct enclave enclave;
	struct timespec a, b;

	enclave_load(&enclave, NULL);
	for (int i = 0; i < 1000; i++)
		enclave_call(enclave_tcs(&enclave, 0), &nop, NULL);
	clock_gettime(CLOCK_MONOTONIC, &a);
	for (long i = 0; i < n; i++)
		enclave_call(enclave_tcs(&enclave, 0), &nop, NULL);
	clock_gettime(CLOCK_MONOTONIC, &b);
	printf("%.3f\n", ((b.tv_sec - a.tv_sec) * 1e9 + (b.tv_nsec - a.tv_nsec)) / n / 1e3);
	return 0;
}
