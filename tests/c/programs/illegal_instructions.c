/* Instructions that leave ring 3, or ask what a VMM might answer, are #UD in an enclave; RIP is theirs. */
#include "enclave.h"

static struct enclave enclave;

static void expect(const char *name, enum instruction instruction)
{
	struct request request = { .op = OP_INSTRUCTION, .a = instruction }, fix = { .op = OP_FIX_RIP };
	void *tcs = enclave_tcs(&enclave, 0);

	expect_fault(name, attempt(tcs, &request, EENTER), ERESUME, 6, 0, 0);
	attempt(tcs, &fix, EENTER);
	ok_eq(fix.rip, request.rip, "RIP");
	ok_eq(fix.exitinfo, 0x80000306, "EXITINFO");
	drop_frame(tcs);
}

/* Intel's processors execute it in 64-bit mode, and the kernel does not tell where it was: a difference from hardware. */
static void sysenter(void)
{
	struct request request = { .op = OP_INSTRUCTION, .a = INSN_SYSENTER }, add = { .op = OP_ADD, .a = 2, .b = 3 };
	void *tcs = enclave_tcs(&enclave, 0);

	expect_fault("SYSENTER", attempt(tcs, &request, EENTER), ERESUME, 6, 0, 0);
	drop_frame(tcs);
	expect_exit("the TCS still serves", attempt(tcs, &add, EENTER));
	ok_eq(add.result, 5, "its result");
}

int main(void)
{
	enclave_load(&enclave, NULL);
	expect("IN", INSN_IN);
	expect("OUT", INSN_OUT);
	expect("INSB", INSN_INSB);
	expect("OUTSB", INSN_OUTSB);
	expect("INT 2Eh", INSN_INT_2E);
	expect("INT 3, the long form", INSN_INT_3);
	expect("INT 80h", INSN_INT_80);
	expect("SYSCALL", INSN_SYSCALL);
	expect("RDPMC", INSN_RDPMC);
	expect("ENCLU with an operand-size prefix", INSN_ENCLU_66);
	sysenter();
	return done();
}
