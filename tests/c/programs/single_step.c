/* A program that single-steps itself sees ENCLU as one instruction, and the trap that was pending at EEXIT. */
#include "enclave.h"

static volatile uint64_t steps[4096];
static volatile int count;

static void on_trap(int signo, siginfo_t *info, void *context)
{
	(void)signo;
	if (info->si_code == TRAP_TRACE && count < 4096)
		steps[count++] = ((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
}

static int stepped(struct enclave *enclave, struct request *request)
{
	struct raw_fault fault;
	uint64_t result, leaf = EENTER, tcs = (uint64_t)enclave_tcs(enclave, 0), out = (uint64_t)&fault;

	__asm__ volatile("pushf; orl $0x100, (%%rsp); popf; call raw_enter_count; pushf; andl $~0x100, (%%rsp); popf"
			 : "=a"(result), "+D"(leaf), "+S"(tcs), "+d"(request), "+c"(out)
			 :
			 : "rbx", "r8", "r9", "r10", "r11", "memory", "cc");
	return result;
}

int main(void)
{
	struct request popf = { .op = OP_INSTRUCTION, .a = INSN_POPF_TF };
	struct enclave enclave;
	int inside = 0, at = -1;
	struct raw_fault fault;

	enclave_load(&enclave, NULL);
	handle(SIGTRAP, on_trap);
	raw_enter_count(EENTER, enclave_tcs(&enclave, 0), &popf, &fault);
	ok_eq(popf.result & 0x100, 0, "POPF in an enclave does not set TF after an opt-out entry");
	ok_eq(count, 0, "and nothing is stepped");
	ok_eq(stepped(&enclave, &popf), RAW_EXITED, "entered while stepping");
	ok_eq(popf.result & 0x100, 0, "TF is clear inside");
	for (int i = 0; i < count; i++) {
		inside += steps[i] - (uint64_t)enclave.base < enclave.size;
		if (steps[i] == (uint64_t)raw_count_enclu)
			at = i;
	}
	ok_eq(inside, 0, "no step in the enclave");
	ok(at >= 0, "a step before ENCLU");
	ok_eq(steps[at + 1], (uint64_t)raw_count_enclu + 3, "the next is right after EEXIT");
	return done();
}
