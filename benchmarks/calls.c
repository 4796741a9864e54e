/*
 * Seconds that reads and writes of one byte take: calls COUNT [enclave].  With "enclave", the process has opened the device,
 * and its thread has been in an enclave.
 */
#include "enclave.h"

#include <time.h>

int main(int argc, char **argv)
{
	long n = argc > 1 ? atol(argv[1]) : 1000000;
	int zero = open("/dev/zero", O_RDONLY), null = open("/dev/null", O_WRONLY);
	struct timespec a, b;
	char byte;

	if (argc > 2) {
		struct enclave enclave;

		enclave_load(&enclave, NULL);
		for (int i = 0; i < 1000; i++)
			ask(enclave_tcs(&enclave, 0), OP_NOP, 0, 0, 0);
	}
	clock_gettime(CLOCK_MONOTONIC, &a);
	for (long i = 0; i < n; i++)
		if (read(zero, &byte, 1) != 1 || write(null, &byte, 1) != 1)
			return 1;
	clock_gettime(CLOCK_MONOTONIC, &b);
	printf("%.4f\n", (b.tv_sec - a.tv_sec) + (b.tv_nsec - a.tv_nsec) / 1e9);
	return 0;
}
