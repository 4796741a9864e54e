/*
 * What entries and exceptions cost: microseconds for an ECALL that does nothing and for one that ends with an exception,
 * which its host is told of.  Medians of single calls, as JSON.
 */
#include "enclaves/basic.h"
#include "scenario.h"

#include <time.h>

enum { WARM_UP = 20, CALLS = 200 };

static struct sgx_runtime *runtime;
static struct sgx_enclave enclave;

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1e6 + time.tv_nsec / 1e3;
}

static int compare(const void *a, const void *b)
{
	double difference = *(const double *)a - *(const double *)b;

	return (difference > 0) - (difference < 0);
}

static double measure(struct step *steps, int expected)
{
	static double times[CALLS];
	uint8_t *tcs = sgx_tcs(&enclave, 0);
	struct sgx_exception exception;
	double start;
	int error;

	for (int i = -WARM_UP; i < CALLS; i++) {
		start = now();
		error = runtime->call(&enclave, tcs, BASIC_RUN, steps, NULL, NULL, &exception);
		if (i >= 0)
			times[i] = now() - start;
		if (error != expected)
			wrong("an ECALL: %s", errno_name(error));
		if (error)
			runtime->reset(&enclave, tcs);
	}
	qsort(times, CALLS, sizeof(times[0]), compare);
	return times[CALLS / 2];
}

int main(void)
{
	struct step nothing[] = { { STEP_END, 0, 0, 0 } };
	struct step fault[] = { { STEP_UD, 0, 0, 0 }, { STEP_END, 0, 0, 0 } };
	double entry, exception;

	runtime = open_runtime("a");
	must_start(runtime);
	must_load(runtime, &enclave, "enclaves/basic.elf");
	entry = measure(nothing, 0);
	exception = measure(fault, EFAULT);
	printf("{\"entry\": %.2f, \"exception\": %.2f}\n", entry, exception);
	return 0;
}
