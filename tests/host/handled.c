/* An enclave whose exception handler makes an OCALL. */
#include "trusted.h"

uint64_t enclave_main(struct thread *thread, uint64_t function, void *argument)
{
	(void)thread, (void)function, (void)argument;
	__asm__ volatile("ud2"); /* the first exception */
	__asm__ volatile("ud2"); /* and the second */
	return 7;
}

bool enclave_exception(struct ssa_gpr *gpr, const struct ssa_exinfo *exinfo)
{
	(void)exinfo;
	gpr->rip += 2;
	return ocall(exception_thread(gpr), 1, (void *)gpr->rip) == 1;
}
