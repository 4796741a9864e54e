/* An enclave reads its own SSA frame, which is a mapping of its own, so that no other fault brings it along: its EENTER has
   accessed the frame before. */
#include "enclave.h"

int main(void)
{
	struct enclave enclave;
	uint8_t *frame;
	void *tcs;

	enclave_load(&enclave, NULL);
	tcs = enclave_tcs(&enclave, 0);
	frame = enclave_ssa(&enclave, 0, 0);
	ok_eq(mprotect(frame + PAGE, PAGE, PROT_READ), 0, "what is behind it is protected");
	ok_eq(mprotect(frame - PAGE, PAGE, PROT_READ), 0, "what is in front of it is protected");
	ask(tcs, OP_READ, (uint64_t)frame, 0, 0);
	ask(tcs, OP_READ, (uint64_t)frame, 0, 0);
	return done();
}
