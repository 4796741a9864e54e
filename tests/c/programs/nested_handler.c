/* Exceptions nest: frames of the SSA are used one after another; each in-enclave handler repairs its frame. */
#include "enclave.h"

int main(void)
{
	struct request ud2 = { .op = OP_UD2 }, nop = { .op = OP_NOP }, skip = { .op = OP_FIX_RIP, .a = 2 };
	struct enclave enclave;
	void *tcs;

	enclave_load(&enclave, NULL);
	tcs = enclave_tcs(&enclave, 0);
	for (int depth = 0; depth < TEST_SSA_FRAMES; depth++) {
		expect_fault("#UD", attempt(tcs, &ud2, EENTER), ERESUME, 6, 0, 0);
		ok_eq(ud2.cssa, depth, "entered at this CSSA");
	}
	expect_fault("no frame left: EENTER itself faults", attempt(tcs, &nop, EENTER), EENTER, 13, 0, 0);
	enclave_unload(&enclave);

	enclave_load(&enclave, NULL);
	tcs = enclave_tcs(&enclave, 0);
	/* All by the same call depth: a resumed frame leaves on the stack that it entered with. */
	attempt(tcs, &ud2, EENTER);
	attempt(tcs, &ud2, EENTER);
	for (int depth = 2; depth; depth--) {
		expect_exit("handler", attempt(tcs, &skip, EENTER));
		ok_eq(skip.cssa, depth, "at this CSSA");
		ok_eq(skip.exitinfo, 0x80000306, "EXITINFO: valid, hardware exception, #UD");
		expect_exit("resumed, the frame finished", attempt(tcs, &ud2, ERESUME));
	}
	attempt(tcs, &nop, EENTER);
	ok_eq(nop.cssa, 0, "CSSA is 0 again");
	return done();
}
