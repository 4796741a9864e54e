/* A difference from hardware: SYSCALL in an enclave is #UD, but has overwritten RCX and R11 as the SSA has them. */
#include "enclave.h"

#define GPR(index) (PAGE - 184 + 8 * (index))

int main(void)
{
	struct request syscall = { .op = OP_INSTRUCTION, .a = INSN_SYSCALL, .b = 0xa1, .c = 0xc2, .d = 0xd3 };
	struct enclave enclave;
	uint64_t ssa;
	void *tcs;

	enclave_load(&enclave, NULL);
	tcs = enclave_tcs(&enclave, 0);
	ssa = (uint64_t)enclave_ssa(&enclave, 0, 0);
	expect_fault("#UD", attempt(tcs, &syscall, EENTER), ERESUME, 6, 0, 0);
	ok_eq(ask(tcs, OP_READ, ssa + GPR(0), 0, 0), 0xa1, "RAX");
	ok_eq(ask(tcs, OP_READ, ssa + GPR(2), 0, 0), 0xd3, "RDX");
	ok_eq(ask(tcs, OP_READ, ssa + GPR(1), 0, 0), syscall.rip + 2, "RCX is the next instruction (hardware: 0xc2)");
	ok(ask(tcs, OP_READ, ssa + GPR(11), 0, 0) & 0x200, "R11 is RFLAGS (hardware: as it was)");
	return done();
}
