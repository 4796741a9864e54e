/* The enclave of the tests of stepping: functions whose instructions, pages and results are known. */
#include "trusted.h"

#define PAGES 3

static volatile uint64_t cell;
static volatile uint8_t pages[(PAGES + 1) * 4096];
static uint8_t bytes[4096] __attribute__((aligned(4096)));

/* RDRAND %eax, 0F C7 F0, of which the last byte is on another page. */
__asm__(".pushsection .text.across, \"ax\"\n"
	".balign 4096\n.fill 4096 - 2, 1, 0x90\n"
	".globl across\nacross:\n\trdrand %eax\n\tret\n"
	".balign 4096\n.popsection");

static volatile uint8_t *page(int number)
{
	return (volatile uint8_t *)(((uint64_t)pages + 4095 & -4096ul) + number * 4096);
}

static uint64_t rdrand(void)
{
	uint64_t value;

	__asm__ volatile("rdrand %0" : "=r"(value) : : "cc");
	return value;
}

static uint64_t rdtsc(void)
{
	uint32_t low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
	return (uint64_t)high << 32 | low;
}

uint64_t enclave_main(struct thread *thread, uint64_t function, void *argument)
{
	uint64_t n = (uint64_t)argument, value = 0, second = 0;
	void *to = bytes;

	switch (function) {
	case 0:
		return n + 1;
	case 1:
		return ocall(thread, 0, argument);
	case 2:
		return rdrand();
	case 3:
		return rdtsc();
	case 4:
		__asm__ volatile("pushfq; pop %0" : "=r"(value));
		return value;
	case 5:
		__asm__ volatile("1:\n\tdec %0\n\tjnz 1b" : "+r"(n) : : "cc");
		return 5;
	case 6:
		__asm__ volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(0) : "memory");
		return 0;
	case 7:
		value = cell;
		cell = n;
		return value;
	case 8: /* enclave_exception() steps over it */
		__asm__ volatile("ud2" : : : "memory");
		return 8;
	case 9:
		while (!*(volatile uint32_t *)argument)
			cell++;
		return 9;
	case 10:
		value = *page(0);
		*page(1) = 1;
		return value + *page(2);
	case 11:
		__asm__ volatile("call across" : "=a"(value) : : "cc");
		return value;
	case 12:
		__asm__ volatile("int3");
		return 12;
	case 13:
		return (uint64_t)page(n);
	case 14: /* one instruction that needs two pages */
		__asm__ volatile("movsb" : : "S"(page(0)), "D"(page(1)) : "memory");
		return 14;
	case 15:
		value = rdrand();
		second = rdrand();
		return value ^ second;
	case 16:
		__asm__ volatile(".byte 0x66\n\trdrand %%ax" : "+a"(value) : : "cc");
		return value;
	case 17:
		return (uint64_t)bytes;
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
