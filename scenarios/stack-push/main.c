#include "pair.h"

enum { PUSHED = 0x5eed };

/* Uses some kilobytes below the stack pointer. */
static __attribute__((noinline)) uint64_t use_stack(void)
{
	volatile uint8_t bytes[8192];
	uint64_t sum = 0;

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = 0xa5;
	for (size_t i = 0; i < sizeof(bytes); i++)
		sum += bytes[i];
	return sum;
}

static uint64_t read_pushed(void *context, void *argument)
{
	volatile uint64_t *pushed = argument;

	(void)context;
	ok_eq(*pushed, PUSHED, "the OCALL finds the data");
	use_stack();
	ok_eq(*pushed, PUSHED, "and still when the host has used its stack");
	return *pushed;
}

static enum sgx_decision on_exception(void *context, const struct sgx_exception *exception)
{
	(void)context, (void)exception;
	use_stack();
	return SGX_HANDLE;
}

int main(void)
{
	static const sgx_ocall ocalls[] = { read_pushed };
	struct step call[] = { { STEP_PUSH_OCALL, 0, PUSHED, 0 }, { STEP_ADD, 40, 2, 0 }, { STEP_END, 0, 0, 0 } };
	struct step fault[] = { { STEP_PUSH_UD, 0, PUSHED, 0 }, { STEP_END, 0, 0, 0 } };
	struct sgx_host host = { ocalls, 1, on_exception, NULL };
	struct sgx_runtime *runtime = open_runtime("a");
	struct sgx_enclave enclave;

	must_start(runtime);
	must_load(runtime, &enclave, "enclaves/basic.elf");
	ok_eq(runtime->call(&enclave, sgx_tcs(&enclave, 0), BASIC_RUN, call, &host, NULL, NULL), 0, "an ECALL that puts data there");
	ok_eq(call[0].result, PUSHED, "the enclave gets the OCALL's result");
	ok_eq(call[1].result, 42, "and goes on");
	ok_eq(runtime->call(&enclave, sgx_tcs(&enclave, 0), BASIC_RUN, fault, &host, NULL, NULL), 0, "one that then has an exception");
	ok_eq(fault[0].result, PUSHED, "the data is there when it has been handled");
	finish();
}
