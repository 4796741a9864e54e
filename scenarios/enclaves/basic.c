#include "basic.h"
#include "trusted.h"

#define NESTS 1	/* in R11: no place to go on at */
#define UD2_THAT_NESTS __asm__ volatile("mov %0, %%r11; ud2" : : "i"(NESTS) : "r11")

/*
 * Every step that may raise an exception has R11 as the place to go on at, R10 as the result.  That is this enclave's
 * table of fixups.
 */
bool enclave_exception(struct ssa_gpr *gpr, const struct ssa_exinfo *exinfo)
{
	(void)exinfo;
	if (gpr->r11 == NESTS)
		UD2_THAT_NESTS;
	if (!(gpr->exitinfo & EXITINFO_VALID))
		return false;
	gpr->rip = gpr->r11;
	gpr->r10 = STEP_HANDLED | (gpr->exitinfo & EXITINFO_VECTOR);
	return true;
}

#define MAY_FAULT(instruction, result, ...) \
	__asm__ volatile("lea 1f(%%rip), %%r11; xor %%r10d, %%r10d; " instruction "; 1: mov %%r10, %0" \
			 : "=m"(result) : __VA_ARGS__ : "rax", "rdx", "r10", "r11", "memory", "cc")

static uint64_t *push(struct thread *thread, uint64_t value, bool visible)
{
	uint64_t *pushed = allocate_untrusted(thread, sizeof(value), visible);

	*pushed = value;
	return pushed;
}

static void overwrite(const struct thread *thread, int64_t size, uint8_t value)
{
	volatile uint8_t *at = (uint8_t *)thread->exit_rsp;

	for (; size > 0; size--)
		at[size - 1] = value;
	for (; size < 0; size++)
		at[size] = value;
}

static void run_step(struct thread *thread, struct step *step)
{
	switch (step->kind) {
	case STEP_ADD:
		step->result = step->a + step->b;
		break;
	case STEP_READ:
		MAY_FAULT("mov (%1), %%r10", step->result, "r"(step->a));
		break;
	case STEP_WRITE:
		MAY_FAULT("mov %2, (%1)", step->result, "r"(step->a), "r"(step->b));
		break;
	case STEP_UD:
		MAY_FAULT("ud2", step->result, "r"(0));
		break;
	case STEP_NEST:
		UD2_THAT_NESTS;
		break;
	case STEP_DIVIDE:
		MAY_FAULT("mov %1, %%rax; xor %%edx, %%edx; divq %2; mov %%rax, %%r10", step->result, "r"(step->a), "r"(step->b));
		break;
	case STEP_GP:
		MAY_FAULT("mov (%1), %%r10", step->result, "r"(1ull << 63));
		break;
	case STEP_BP:
		MAY_FAULT("int3", step->result, "r"(0));
		break;
	case STEP_OCALL:
		step->result = ocall(thread, step->a, (void *)step->b);
		break;
	case STEP_SPIN:
		*(volatile uint32_t *)step->b = 1;
		while (!*(volatile uint32_t *)step->a)
			__asm__ volatile("pause");
		break;
	case STEP_PUSH_OCALL:
		step->result = ocall(thread, step->a, push(thread, step->b, false));
		break;
	case STEP_PUSH_UD: {
		volatile uint64_t *pushed = push(thread, step->b, true);

		MAY_FAULT("ud2", step->result, "r"(0));
		step->result = *pushed;
		break;
	}
	case STEP_OVERWRITE:
		overwrite(thread, step->a, step->b);
		break;
	}
}

uint64_t enclave_main(struct thread *thread, uint64_t function, void *argument)
{
	uint64_t done = 0;

	if (function != BASIC_RUN)
		return 0;
	for (struct step *step = argument; step->kind != STEP_END; step++, done++)
		run_step(thread, step);
	return done;
}
