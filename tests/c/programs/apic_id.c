/*
 * A difference from hardware: the APIC ID is that of the supervisor's processor, here the first, on whichever one is.
 * Code that shows beforehand for which leaf its CPUID is executes it.
 */
#include "enclave.h"

#include <cpuid.h>
#include <sched.h>

/* At run time, where it is not found: what the processor itself says. */
static uint32_t real_id(void)
{
	static const uint8_t code[] = { 0x53, 0xb8, 1, 0, 0, 0, 0x0f, 0xa2, 0x89, 0xd8, 0x5b, 0xc3 };
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	memcpy(page, code, sizeof(code));	/* push rbx; mov eax, 1; cpuid; mov eax, ebx; pop rbx; ret */
	return ((uint32_t (*)(void))page)() >> 24;
}

static uint32_t told_id(void)
{
	volatile uint32_t leaf = 1;
	uint32_t eax, ebx, ecx, edx;

	__cpuid(leaf, eax, ebx, ecx, edx);
	return ebx >> 24;
}

static uint32_t executed_id(void)
{
	uint32_t eax, ebx, ecx, edx;

	__cpuid(1, eax, ebx, ecx, edx);
	return ebx >> 24;
}

int main(int argc, char **argv)
{
	uint32_t first = real_id();	/* the run has been started on one processor */
	cpu_set_t other;

	ok_eq(told_id(), first, "on the supervisor's processor");
	CPU_ZERO(&other);
	CPU_SET(argc > 1 ? atoi(argv[1]) : 0, &other);
	ok(!sched_setaffinity(0, sizeof(other), &other), "on another");
	ok(real_id() != first, "which has an ID of its own");
	ok_eq(told_id(), first, "but is told the supervisor's");
	ok_eq(executed_id(), real_id(), "unless it is seen beforehand that leaf 1 is asked for");
	return done();
}
