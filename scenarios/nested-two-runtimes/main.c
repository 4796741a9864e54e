#include "pair.h"

static struct pair outer, inner;

static uint64_t enter_inner(void *context, void *argument)
{
	(void)context;
	return ok(pair_fault(&inner, 0), "the inner host is told of the inner exception") + (uint64_t)argument;
}

int main(void)
{
	static const sgx_ocall ocalls[] = { enter_inner };
	struct step steps[] = { { STEP_OCALL, 0, 41, 0 }, { STEP_UD, 0, 0, 0 }, { STEP_END, 0, 0, 0 } };
	struct sgx_runtime *a = open_runtime("a"), *b = open_runtime("b");

	must_start(a);
	outer = new_pair("outer", a);
	refused_if(b->start(), "starting the inner runtime");
	inner = new_pair("inner", b);
	ok_eq(pair_run(&outer, 0, steps, ocalls, 1), EFAULT, "the outer ECALL ends with its exception");
	ok_eq(steps[0].result, 42, "after its OCALL");
	ok_eq(outer.told.vector, 6, "of which the outer host is told");
	ok_eq(outer.times, 1, "and only of that");
	ok_eq(inner.times, 1, "the inner host only of its own");
	finish();
}
