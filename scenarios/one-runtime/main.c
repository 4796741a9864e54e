#include "enclaves/basic.h"
#include "scenario.h"

static struct sgx_runtime *runtime;
static struct sgx_enclave enclave;

static uint64_t add_one(void *context, void *argument)
{
	(void)context;
	return (uint64_t)argument + 1;
}

static const sgx_ocall ocalls[] = { add_one };
static const struct sgx_host host = { ocalls, 1, NULL, NULL };

static void expect_exception(struct step step, uint16_t vector, uint16_t error_code, const char *name)
{
	struct step steps[] = { step, { STEP_END, 0, 0, 0 } };
	struct sgx_exception exception = { 0 };
	uint8_t *tcs = sgx_tcs(&enclave, 0);

	ok_eq(runtime->call(&enclave, tcs, BASIC_RUN, steps, &host, NULL, &exception), EFAULT, "%s: the ECALL fails", name);
	ok_eq(exception.leaf, ERESUME, "%s: after an asynchronous exit", name);
	ok_eq(exception.vector, vector, "%s: the vector", name);
	ok_eq(exception.error_code, error_code, "%s: the error code", name);
	ok_eq(exception.address, 0, "%s: the address", name);
	ok_eq(runtime->reset(&enclave, tcs), 0, "%s: the enclave gives up", name);
}

static void expect_exit(void)
{
	struct step steps[] = { { STEP_ADD, 40, 2, 0 }, { STEP_OCALL, 0, 41, 0 }, { STEP_END, 0, 0, 0 } };
	uint64_t result = 0;

	ok_eq(runtime->call(&enclave, sgx_tcs(&enclave, 0), BASIC_RUN, steps, &host, &result, NULL), 0, "an ECALL");
	ok_eq(result, 2, "does two steps");
	ok_eq(steps[0].result, 42, "adds");
	ok_eq(steps[1].result, 42, "makes an OCALL");
}

int main(void)
{
	runtime = open_runtime("a");
	must_start(runtime);
	must_load(runtime, &enclave, "enclaves/basic.elf");
	expect_exit();
	expect_exception((struct step){ STEP_UD, 0, 0, 0 }, 6, 0, "#UD");
	expect_exception((struct step){ STEP_READ, 8, 0, 0 }, 14, 4, "#PF");
	expect_exception((struct step){ STEP_GP, 0, 0, 0 }, 13, 0, "#GP");
	expect_exception((struct step){ STEP_DIVIDE, 1, 0, 0 }, 0, 0, "#DE");
	expect_exit();
	ok_eq(runtime->stop(), 0, "the runtime stops");
	ok_eq(runtime->call(&enclave, sgx_tcs(&enclave, 0), BASIC_RUN, NULL, NULL, NULL, NULL), ENOTCONN, "and no longer serves");
	finish();
}
