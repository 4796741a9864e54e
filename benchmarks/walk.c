/*
 * Microseconds a page that an enclave touches, on stdout.  Arguments: PAGES of heap, and how they are touched:
 * `sequential` or `random`; or `none`: an AEX for an exception and an ERESUME instead.
 */
#include "enclave.h"

#include <time.h>

static double microseconds(struct timespec a, struct timespec b)
{
	return (b.tv_sec - a.tv_sec) * 1e6 + (b.tv_nsec - a.tv_nsec) / 1e3;
}

static double touch(struct enclave *enclave, uint64_t count, uint64_t apart)
{
	struct request request = { .a = (uint64_t)enclave->base + enclave->heap, .b = count, .c = apart };
	struct timespec a, b;

	clock_gettime(CLOCK_MONOTONIC, &a);
	enclave_call(enclave_tcs(enclave, 0), &request, NULL);
	clock_gettime(CLOCK_MONOTONIC, &b);
	return microseconds(a, b);
}

static double resume(struct enclave *enclave, uint64_t count)
{
	struct request request = { 0 };
	struct sgx_enclave_run run;
	struct timespec a, b;

	for (uint64_t i = 0; i <= count; i++) {
		if (i == 1)
			clock_gettime(CLOCK_MONOTONIC, &a);
		vdso_enter(enclave_tcs(enclave, 0), &request, i ? ERESUME : EENTER, &run);
	}
	clock_gettime(CLOCK_MONOTONIC, &b);
	if (run.function != ERESUME || run.exception_vector != 6) {
		fprintf(stderr, "not #UD after an AEX: leaf %u, vector %u\n", run.function, run.exception_vector);
		exit(1);
	}
	return microseconds(a, b);
}

int main(int argc, char **argv)
{
	uint64_t pages = argc > 2 ? strtoull(argv[1], NULL, 0) : 0;
	struct enclave_options options = { .heap_pages = pages };
	struct enclave enclave;
	double total = 0;
	uint64_t touched = 0;

	if (!pages) {
		fprintf(stderr, "usage: walk PAGES sequential|random|none\n");
		return 2;
	}
	enclave_load(&enclave, &options);
	if (!strcmp(argv[2], "none")) {
		printf("%.3f\n", resume(&enclave, pages) / pages);
		return 0;
	}
	touch(&enclave, pages, 1);
	for (int round = 0; round < 4; round++) {
		total += touch(&enclave, pages, !strcmp(argv[2], "sequential")), touched += pages;
	}
	printf("%.3f\n", total / touched);
	return 0;
}
