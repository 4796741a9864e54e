/* A difference from hardware, which raises #UD: CPUID, loads of segment registers and far returns run in an enclave. */
#include "enclave.h"

static struct enclave enclave;

static void runs(const char *name, enum instruction instruction)
{
	struct request request = { .op = OP_INSTRUCTION, .a = instruction };

	expect_exit(name, attempt(enclave_tcs(&enclave, 0), &request, EENTER));
}

int main(void)
{
	enclave_load(&enclave, NULL);
	runs("CPUID", INSN_CPUID);
	runs("MOV to SS", INSN_MOV_SS);
	runs("POP FS", INSN_POP_FS);
	runs("far RET", INSN_FAR_RETURN);
	runs("RDTSC, which hardware with SGX2 lets run, too", INSN_RDTSC);
	return done();
}
