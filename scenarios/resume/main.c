#include "enclaves/basic.h"
#include "scenario.h"

#include <sys/mman.h>

static struct sgx_exception told[8];
static unsigned int exceptions;
static uint8_t *page;

static enum sgx_decision on_exception(void *context, const struct sgx_exception *exception)
{
	(void)context;
	told[exceptions++ % 8] = *exception;
	if (exception->vector == 14 && exception->address == (uint64_t)page) {
		mprotect(page, SGX_PAGE, PROT_READ | PROT_WRITE);
		return SGX_RESUME;
	}
	return SGX_HANDLE;
}

static const struct sgx_host host = { NULL, 0, on_exception, NULL };

static void expect_told(unsigned int index, uint16_t vector, const char *name)
{
	ok_eq(told[index].vector, vector, "the host is told of %s", name);
	ok_eq(told[index].leaf, ERESUME, "%s: after an asynchronous exit", name);
}

int main(void)
{
	struct sgx_runtime *runtime = open_runtime("a");
	struct sgx_enclave enclave;
	struct step steps[] = {
		{ STEP_UD, 0, 0, 0 },
		{ STEP_READ, 8, 0, 0 },
		{ STEP_GP, 0, 0, 0 },
		{ STEP_DIVIDE, 1, 0, 0 },
		{ STEP_READ, 0, 0, 0 },
		{ STEP_END, 0, 0, 0 },
	};
	uint64_t result = 0;
	int error;

	must_start(runtime);
	must_load(runtime, &enclave, "enclaves/basic.elf");
	page = mmap(NULL, SGX_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	*(uint64_t *)page = 1234;
	mprotect(page, SGX_PAGE, PROT_NONE);
	steps[4].a = (uint64_t)page;

	error = runtime->call(&enclave, sgx_tcs(&enclave, 0), BASIC_RUN, steps, &host, &result, NULL);
	expect_told(0, 6, "#UD");
	refused_if(error, "resuming an enclave that has handled its exception");
	ok_eq(result, 5, "all steps were done");
	expect_told(1, 14, "#PF");
	expect_told(2, 13, "#GP");
	expect_told(3, 0, "#DE");
	expect_told(4, 14, "#PF");
	ok_eq(steps[0].result, STEP_HANDLED | 6, "the enclave has handled #UD");
	ok_eq(steps[1].result, STEP_HANDLED | 14, "the enclave has handled #PF");
	ok_eq(steps[2].result, STEP_HANDLED | 13, "the enclave has handled #GP");
	ok_eq(steps[3].result, STEP_HANDLED | 0, "the enclave has handled #DE");
	ok_eq(steps[4].result, 1234, "the host has repaired #PF");
	ok_eq(exceptions, 5, "no other exceptions");
	finish();
}
