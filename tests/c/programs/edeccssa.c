/* EDECCSSA gives up the topmost SSA frame: the next exception uses the one below, the interrupted code is gone. */
#include "enclave.h"

int main(void)
{
	struct request ud2 = { .op = OP_UD2 }, div = { .op = OP_DIV0 }, nop = { .op = OP_NOP }, fix = { .op = OP_FIX_RIP };
	struct request decrement = { .op = OP_EDECCSSA }, then_fault = { .op = OP_EDECCSSA, .a = 1 };
	struct enclave enclave;
	void *tcs;

	enclave_load(&enclave, NULL);
	tcs = enclave_tcs(&enclave, 0);
	expect_fault("at CSSA 0 it is #GP", attempt(tcs, &decrement, EENTER), ERESUME, 13, 0, 0);
	expect_exit("at CSSA 1 it is well", attempt(tcs, &decrement, EENTER));
	ok_eq(decrement.cssa, 1, "entered at CSSA 1");
	expect_exit("entered again", attempt(tcs, &nop, EENTER));
	ok_eq(nop.cssa, 0, "at CSSA 0");
	expect_fault("nothing to resume", attempt(tcs, &nop, ERESUME), ERESUME, 13, 0, 0);

	attempt(tcs, &div, EENTER);
	attempt(tcs, &ud2, EENTER);
	expect_fault("#UD after EDECCSSA at CSSA 2", attempt(tcs, &then_fault, EENTER), ERESUME, 6, 0, 0);
	attempt(tcs, &fix, EENTER);
	ok_eq(fix.cssa, 2, "its AEX took the second frame again");
	ok_eq(fix.exitinfo, 0x80000306, "which says #UD");
	drop_frame(tcs);
	attempt(tcs, &fix, EENTER);
	ok_eq(fix.exitinfo, 0x80000300, "the first frame still says #DE");
	drop_frame(tcs);
	attempt(tcs, &nop, EENTER);
	ok_eq(nop.cssa, 0, "CSSA is 0 in the end");
	return done();
}
