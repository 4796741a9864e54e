/* The enclave of the tests of the host. */
#include "trusted.h"

static volatile uint64_t cell;

uint64_t enclave_main(struct thread *thread, uint64_t function, void *argument)
{
	uint64_t *numbers = argument, *on_stack;

	switch (function) {
	case 0:
		return (uint64_t)argument + 1;
	case 1:
		return ocall(thread, 0, argument);
	case 2:
		return *(volatile uint64_t *)argument;
	case 3:
		for (;;)
			cell++;
	case 4: /* enclave_exception() steps over it */
		__asm__ volatile("ud2");
		return 4;
	case 5:
		on_stack = allocate_untrusted(thread, 4096, true);
		*on_stack = 42;
		return ocall(thread, 0, on_stack);
	case 6:
		numbers[0] += numbers[1];
		return 6;
	case 7:
		return cell;
	case 8:
		cell = (uint64_t)argument;
		return (uint64_t)&cell;
	}
	return ~0ull;
}

bool enclave_exception(struct ssa_gpr *gpr, const struct ssa_exinfo *exinfo)
{
	(void)exinfo;
	if ((gpr->exitinfo & EXITINFO_VECTOR) != 6)
		return false;
	gpr->rip += 2;
	return true;
}
