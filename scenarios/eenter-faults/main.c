#include "pair.h"

#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

static struct pair pair;
static volatile uint32_t inside, leave;

static void expect(uint8_t *tcs, uint16_t vector, uint64_t address, const char *what)
{
	struct sgx_exception exception = { 0 };
	struct step steps[] = { { STEP_ADD, 40, 2, 0 }, { STEP_END, 0, 0, 0 } };

	ok_eq(pair.runtime->call(&pair.enclave, tcs, BASIC_RUN, steps, NULL, NULL, &exception), EFAULT, "%s: the ECALL fails", what);
	ok_eq(exception.leaf, EENTER, "%s: EENTER itself has faulted", what);
	ok_eq(exception.vector, vector, "%s: the vector", what);
	ok_eq(exception.address, address, "%s: the address", what);
	ok_eq(steps[0].result, 0, "%s: the enclave was not entered", what);
}

static void *spin(void *unused)
{
	struct step steps[] = { { STEP_SPIN, (uint64_t)&leave, (uint64_t)&inside, 0 }, { STEP_END, 0, 0, 0 } };

	(void)unused;
	return (void *)(long)pair_run(&pair, 1, steps, NULL, 0);
}

static void expect_busy(void)
{
	pthread_t thread;
	void *result;

	pthread_create(&thread, NULL, spin, NULL);
	while (!inside)
		usleep(100);
	expect(sgx_tcs(&pair.enclave, 1), 13, 0, "a busy TCS");
	leave = 1;
	pthread_join(thread, &result);
	ok_eq((uint64_t)result, 0, "the other thread leaves as if nothing had happened");
}

static enum sgx_decision handle(void *context, const struct sgx_exception *exception)
{
	(void)context, (void)exception;
	return SGX_HANDLE;
}

/* Every exception of a handler takes another SSA frame, until none is left. */
static void expect_no_frame(void)
{
	struct step steps[] = { { STEP_NEST, 0, 0, 0 }, { STEP_END, 0, 0, 0 } };
	struct sgx_host host = { .exception = handle };
	uint8_t *tcs = sgx_tcs(&pair.enclave, 2);

	ok_eq(pair.runtime->call(&pair.enclave, tcs, BASIC_RUN, steps, &host, NULL, NULL), EFAULT, "no handler is left");
	expect(tcs, 13, 0, "no SSA frame left");
}

static enum sgx_decision unprotect(void *context, const struct sgx_exception *exception)
{
	(void)context;
	if (exception->leaf != EENTER)
		return SGX_FAIL;
	mprotect(sgx_tcs(&pair.enclave, 3), SGX_PAGE, PROT_READ | PROT_WRITE);
	return SGX_RESUME;
}

static void expect_again(void)
{
	struct step steps[] = { { STEP_ADD, 40, 2, 0 }, { STEP_END, 0, 0, 0 } };
	struct sgx_host host = { .exception = unprotect };
	uint8_t *tcs = sgx_tcs(&pair.enclave, 3);

	mprotect(tcs, SGX_PAGE, PROT_NONE);
	expect(tcs, 14, (uint64_t)tcs, "a protected TCS");
	mprotect(tcs, SGX_PAGE, PROT_NONE);
	ok_eq(pair.runtime->call(&pair.enclave, tcs, BASIC_RUN, steps, &host, NULL, NULL), 0, "unprotected by the host, it can be entered");
	ok_eq(steps[0].result, 42, "and the enclave adds");
}

int main(void)
{
	struct sgx_runtime *runtime = open_runtime("a");
	uint8_t *nothing = mmap(NULL, SGX_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	must_start(runtime);
	pair = new_pair("only", runtime);
	expect(sgx_tcs(&pair.enclave, 0) + 8, 13, 0, "not aligned");
	expect(nothing, 14, (uint64_t)nothing, "not mapped");
	expect(pair.enclave.base + pair.enclave.data, 14, (uint64_t)pair.enclave.base + pair.enclave.data, "a page of data");
	expect_busy();
	expect_no_frame();
	expect_again();
	ok(pair_fault(&pair, 0), "the enclave's exceptions are told as always");
	finish();
}
