/* Exceptions nest: frames of the SSA are used one after another; each in-enclave handler repairs its frame. */
#include "enclave.h"

int main(void)
{
	struct request fault = { .op = OP_UD2 }, nop = { .op = OP_NOP }, skip = { .op = OP_FIX_RIP, .a = 2 };
	struct sgx_enclave_run run;
	struct enclave enclave;
	void *tcs;

	enclave_load(&enclave, NULL);
	tcs = enclave_tcs(&enclave, 0);
	for (int depth = 0; depth < TEST_SSA_FRAMES; depth++) {
		enclave_call(tcs, &fault, &run);
		ok_eq(fault.cssa, depth, "entered at this CSSA");
		ok_eq(run.exception_vector, 6, "#UD");
	}
	enclave_call(tcs, &nop, &run);
	ok_eq(run.function, EENTER, "no frame left: EENTER itself faults");
	ok_eq(run.exception_vector, 13, "#GP");
	enclave_unload(&enclave);

	enclave_load(&enclave, NULL);
	tcs = enclave_tcs(&enclave, 0);
	/* All by the same call depth: a resumed frame leaves on the stack that it entered with. */
	vdso_enter(tcs, &fault, EENTER, &run);
	vdso_enter(tcs, &fault, EENTER, &run);
	for (int depth = 2; depth; depth--) {
		ok_eq(vdso_enter(tcs, &skip, EENTER, &run), 0, "handler");
		ok_eq(run.function, EEXIT, "left by EEXIT");
		ok_eq(skip.cssa, depth, "at this CSSA");
		ok_eq(skip.exitinfo, 0x80000306, "EXITINFO: valid, hardware exception, #UD");
		ok_eq(vdso_enter(tcs, &fault, ERESUME, &run), 0, "resumed");
		ok_eq(run.function, EEXIT, "the frame finished");
	}
	enclave_call(tcs, &nop, &run);
	ok_eq(nop.cssa, 0, "CSSA is 0 again");
	return done();
}
