/* An enclave with bugs; the tests know each by the comment in its line. */
#include "trusted.h"

static int *table = (int *)0x10; /* points nowhere */

static __attribute__((noinline)) int decode(int index)
{
	return table[index]; /* bad pointer */
}

uint64_t enclave_main(struct thread *thread, uint64_t function, void *argument)
{
	switch (function) {
	case 0:
		return (uint64_t)decode((int)(uint64_t)argument);
	case 1:
		__asm__ volatile("ud2"); /* illegal instruction */
		return 1;
	case 2:
		__asm__ volatile("xor %%eax, %%eax; div %%eax" : : : "rax", "rdx", "cc"); /* division */
		return 2;
	case 3:
		for (;;) __asm__ volatile(""); /* endless */
	case 4:
		for (;;)
			ocall(thread, 0, argument);
	}
	return 0;
}

/* It does not step over the UD2, and faults itself on a #DE. */
bool enclave_exception(struct ssa_gpr *gpr, const struct ssa_exinfo *exinfo)
{
	(void)exinfo;
	if ((gpr->exitinfo & EXITINFO_VECTOR) == 6)
		return true;
	if ((gpr->exitinfo & EXITINFO_VECTOR) == 0)
		*(volatile uint64_t *)0x1000 = 1; /* the handler's own fault */
	return false;
}
