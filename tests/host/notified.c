/* An enclave that counts its AEXs. */
#include "trusted.h"

static volatile uint64_t notified, last;

enum { NOTIFY = 1, OCALL = 2, NO_MORE = 4 };

void enclave_notified(const struct ssa_gpr *gpr)
{
	notified++;
	last = gpr->rip;
}

bool enclave_exception(struct ssa_gpr *gpr, const struct ssa_exinfo *exinfo)
{
	(void)exinfo;
	if ((gpr->exitinfo & EXITINFO_VECTOR) != 6)
		return false;
	gpr->rip += 2;
	return true;
}

/* Ten exceptions, each repaired: how often it was notified, and 1000 more if anything that it computed was wrong. */
uint64_t enclave_main(struct thread *thread, uint64_t function, void *argument)
{
	uint64_t before = notified, sum = 0;
	double half = 0;
	bool told;

	if (function & NOTIFY && !notify_of_aex(thread, true))
		return 2000;
	for (uint64_t i = 0; i < 10; i++) {
		__asm__ volatile("ud2");
		sum += i;
		half += 0.5;
		told = !(function & NOTIFY) || last;
	}
	if (function & OCALL && ocall(thread, 3, argument) != 7)
		return 3000;
	if (function & NO_MORE)
		notify_of_aex(thread, false);
	__asm__ volatile("ud2");
	return notified - before + (sum == 45 && half == 5 && told ? 0 : 1000);
}
