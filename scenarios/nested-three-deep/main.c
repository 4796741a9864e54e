#include "pair.h"

static struct pair outer, middle, inner;

static uint64_t enter_inner(void *context, void *argument)
{
	(void)context, (void)argument;
	return ok(pair_fault(&inner, 0), "the innermost host is told of the innermost exception");
}

static uint64_t enter_middle(void *context, void *argument)
{
	static const sgx_ocall ocalls[] = { enter_inner };
	struct step steps[] = { { STEP_OCALL, 0, 0, 0 }, { STEP_UD, 0, 0, 0 }, { STEP_END, 0, 0, 0 } };

	(void)context, (void)argument;
	ok_eq(pair_run(&middle, 0, steps, ocalls, 1), EFAULT, "the middle ECALL ends with its exception");
	ok_eq(steps[0].result, 1, "after its OCALL");
	return ok_eq(middle.told.vector, 6, "of which the middle host is told");
}

int main(void)
{
	static const sgx_ocall ocalls[] = { enter_middle };
	struct step steps[] = { { STEP_OCALL, 0, 0, 0 }, { STEP_UD, 0, 0, 0 }, { STEP_END, 0, 0, 0 } };
	struct sgx_runtime *a = open_runtime("a"), *b = open_runtime("b");

	must_start(a);
	outer = new_pair("outer", a);
	inner = new_pair("inner", a);
	refused_if(b->start(), "starting the middle runtime");
	middle = new_pair("middle", b);
	ok_eq(pair_run(&outer, 0, steps, ocalls, 1), EFAULT, "the outer ECALL ends with its exception");
	ok_eq(steps[0].result, 1, "after its OCALL");
	ok_eq(outer.told.vector, 6, "of which the outer host is told");
	ok_eq(outer.times + middle.times + inner.times, 3, "every host is told once");
	finish();
}
