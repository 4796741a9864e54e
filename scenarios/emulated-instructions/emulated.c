/*
 * An enclave that emulates what it may not execute, by its handler of #UD: SYSCALL, IN, and UD2 with a byte behind it
 * that stands for CPUID.
 */
#include "emulated.h"
#include "trusted.h"

#define UD 6

static uint64_t emulated;

static bool cpuid(struct ssa_gpr *gpr, struct thread *thread, struct emulated *shared)
{
	shared->ask[0] = (uint32_t)gpr->rax;
	shared->ask[1] = (uint32_t)gpr->rcx;
	ocall(thread, OCALL_CPUID, shared);
	gpr->rax = (uint32_t)shared->ask[0];
	gpr->rbx = (uint32_t)shared->ask[1];
	gpr->rcx = (uint32_t)shared->ask[2];
	gpr->rdx = (uint32_t)shared->ask[3];
	gpr->rip += 3;
	return true;
}

bool enclave_exception(struct ssa_gpr *gpr, const struct ssa_exinfo *exinfo)
{
	struct thread *thread = exception_thread(gpr);
	struct emulated *shared = (struct emulated *)thread[-1].call->argument;
	const uint8_t *code = (const uint8_t *)gpr->rip;

	(void)exinfo;
	if ((gpr->exitinfo & EXITINFO_VECTOR) != UD || !(gpr->exitinfo & EXITINFO_VALID))
		return false;
	if (code[0] == 0x0f && code[1] == 0x0b && code[2] == 0xa2)
		cpuid(gpr, thread, shared);
	else if (code[0] == 0x0f && code[1] == 0x05) {
		shared->ask[0] = gpr->rax;
		gpr->rax = ocall(thread, OCALL_SYSCALL, shared);
		gpr->rip += 2;
	} else if (code[0] == 0xec) {
		gpr->rax = (gpr->rax & ~0xfful) | port_value(gpr->rdx);
		gpr->rip += 1;
	} else
		return false;
	emulated++;
	return true;
}

static void run(struct emulated *found)
{
	register uint64_t kept __asm__("r12") = 0x1122334455667788;
	uint32_t a = 0x12, b = 0, c = 0, d = 0;
	uint64_t result = 39; /* getpid */

	__asm__ volatile(".byte 0x0f, 0x0b, 0xa2" : "+a"(a), "+b"(b), "+c"(c), "+d"(d), "+r"(kept));
	__asm__ volatile("syscall" : "+a"(result), "+r"(kept) : : "rcx", "r11", "memory");
	found->pid = result;
	result = 0xffffff00;
	__asm__ volatile("in %%dx, %%al" : "+a"(result), "+r"(kept) : "d"(PORT));
	found->others_kept = kept;
	found->port = result;
	found->cpuid[0] = a;
	found->cpuid[1] = b;
	found->cpuid[2] = c;
	found->cpuid[3] = d;
}

uint64_t enclave_main(struct thread *thread, uint64_t function, void *argument)
{
	(void)thread;
	if (function == EMULATED_RUN)
		run(argument);
	else
		__asm__ volatile(".byte 0x0f, 0x0b, 0xff");
	return emulated;
}
