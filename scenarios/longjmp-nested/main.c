#include "pair.h"

#include <setjmp.h>

static struct pair outer, inner;
static sigjmp_buf in_ocall;

static enum sgx_decision jump(void *context, const struct sgx_exception *exception)
{
	(void)context;
	ok_eq(exception->vector, 6, "the inner host is told of the inner exception, and jumps");
	siglongjmp(in_ocall, 1);
}

static uint64_t enter_inner(void *context, void *argument)
{
	static struct step steps[] = { { STEP_UD, 0, 0, 0 }, { STEP_END, 0, 0, 0 } };
	static const struct sgx_host host = { NULL, 0, jump, NULL };

	(void)context;
	if (sigsetjmp(in_ocall, 1))
		return (uint64_t)argument + 1;
	inner.runtime->call(&inner.enclave, sgx_tcs(&inner.enclave, 0), BASIC_RUN, steps, &host, NULL, NULL);
	return 0;
}

int main(void)
{
	static const sgx_ocall ocalls[] = { enter_inner };
	struct step steps[] = { { STEP_OCALL, 0, 41, 0 }, { STEP_UD, 0, 0, 0 }, { STEP_END, 0, 0, 0 } };
	struct sgx_runtime *a = open_runtime("a"), *b = open_runtime("b");

	must_start(a);
	refused_if(b->start(), "the second runtime");
	outer = new_pair("outer", a);
	inner = new_pair("inner", b);
	ok_eq(pair_run(&outer, 0, steps, ocalls, 1), EFAULT, "the outer ECALL ends with its exception");
	ok_eq(steps[0].result, 42, "after its OCALL");
	ok_eq(outer.told.vector, 6, "of which the outer host is told");
	ok_eq(outer.times, 1, "and only of that");
	ok_eq(inner.runtime->reset(&inner.enclave, sgx_tcs(&inner.enclave, 0)), 0, "the inner enclave gives up");
	ok(pair_fault(&inner, 0), "and its exceptions are told as always");
	ok_eq(outer.runtime->reset(&outer.enclave, sgx_tcs(&outer.enclave, 0)), 0, "the outer enclave gives up");
	ok(pair_fault(&outer, 0), "and its exceptions are told as always");
	finish();
}
