/* Each exception of an enclave is told with its exact vector, error code and address; EXITINFO says the same inside. */
#include "enclave.h"

#define VALID 0x80000000u

static struct enclave enclave;

static void expect(const char *name, struct request request, int vector, uint32_t exitinfo)
{
	struct request fix = { .op = OP_FIX_RIP };
	void *tcs = enclave_tcs(&enclave, 0);

	printf("# %s\n", name);
	expect_fault("told outside", attempt(tcs, &request, EENTER), ERESUME, vector, 0, 0);
	__asm__ volatile("fninit");
	expect_exit("handler entered", attempt(tcs, &fix, EENTER));
	ok_eq(fix.cssa, 1, "at CSSA 1");
	ok_eq(fix.exitinfo, exitinfo, "EXITINFO");
	if (request.op == OP_INSTRUCTION && request.a != INSN_UNALIGNED)
		ok_eq(fix.rip, request.rip, "RIP in the SSA is that of the instruction");
	drop_frame(tcs);
}

int main(void)
{
	enclave_load(&enclave, NULL);
	expect("#DE", (struct request){ .op = OP_DIV0 }, 0, VALID | 0x300);
	expect("#UD by UD2", (struct request){ .op = OP_UD2 }, 6, VALID | 0x306);
	expect("#GP: EXITINFO is not valid without MISCSELECT.EXINFO", (struct request){ .op = OP_GP }, 13, 0);
	expect("#GP by HLT", (struct request){ .op = OP_INSTRUCTION, .a = INSN_HLT }, 13, 0);
	expect("#MF", (struct request){ .op = OP_X87_FAULT }, 16, VALID | 0x310);
	expect("#AC", (struct request){ .op = OP_INSTRUCTION, .a = INSN_UNALIGNED }, 17, VALID | 0x311);
	expect("#XM", (struct request){ .op = OP_SIMD_FAULT }, 19, VALID | 0x313);
	expect("INT3 after an opt-out entry is #UD", (struct request){ .op = OP_INSTRUCTION, .a = INSN_INT3 }, 6, VALID | 0x306);
	return done();
}
