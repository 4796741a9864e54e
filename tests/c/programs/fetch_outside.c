/* A difference from hardware, where it is #GP: an enclave can call code outside; what cannot run there is #GP here, too. */
#include "enclave.h"

static volatile int called;

static void outside(void)
{
	called++;
}

int main(void)
{
	struct request call = { .op = OP_JUMP, .a = (uint64_t)outside }, fix = { .op = OP_FIX_RIP };
	struct enclave enclave;
	void *tcs;

	enclave_load(&enclave, NULL);
	tcs = enclave_tcs(&enclave, 0);
	expect_exit("the call returns (hardware: #GP)", attempt(tcs, &call, EENTER));
	ok_eq(called, 1, "called");
	call.a = (uint64_t)&called;
	expect_fault("data outside is #GP", attempt(tcs, &call, EENTER), ERESUME, 13, 0, 0);
	attempt(tcs, &fix, EENTER);
	ok_eq(fix.rip, call.a, "with RIP there");
	return done();
}
