/* An enclave that accepts the pages of its heap as it touches them. */
#include "pages.h"
#include "trusted.h"

#define EACCEPT 5
#define PT_REG_PENDING_RW 0x20b
#define SGX_BIT 0x8000u

static uint64_t accepted;

static bool accept(uint64_t page)
{
	uint64_t secinfo[8] __attribute__((aligned(64))) = { PT_REG_PENDING_RW };
	uint64_t result = EACCEPT;

	__asm__ volatile(".byte 0x0f, 0x01, 0xd7" : "+a"(result) : "b"(secinfo), "c"(page) : "memory", "cc");
	return result == 0;
}

/* Linux has added the page by then (EAUG), and the EPCM refuses it until the enclave accepts it. */
bool enclave_exception(struct ssa_gpr *gpr, const struct ssa_exinfo *exinfo)
{
	if (!(gpr->exitinfo & EXITINFO_VALID) || (gpr->exitinfo & EXITINFO_VECTOR) != 14 || !(exinfo->error_code & SGX_BIT))
		return false;
	if (!accept(exinfo->address & -SGX_PAGE))
		return false;
	__atomic_add_fetch(&accepted, 1, __ATOMIC_RELAXED);
	return true;
}

static uint64_t fill(const struct range *range)
{
	volatile uint8_t *at = range->start;
	uint64_t sum = 0;

	for (uint64_t i = 0; i < range->pages * SGX_PAGE; i++)
		at[i] = i / SGX_PAGE + 1;
	for (uint64_t i = 0; i < range->pages * SGX_PAGE; i++)
		sum += at[i];
	return sum;
}

uint64_t enclave_main(struct thread *thread, uint64_t function, void *argument)
{
	(void)thread;
	return function == PAGES_FILL ? fill(argument) : __atomic_load_n(&accepted, __ATOMIC_RELAXED);
}
