/* XRSTOR of an image on a page that has been evicted by then, where the EPC is smaller than `big`. */
#include "trusted.h"

static uint8_t big[6 << 20] __attribute__((aligned(4096)));
static struct {
	uint8_t legacy[512];
	uint64_t xstate_bv, xcomp_bv, rest[62];
} image __attribute__((aligned(4096)));

uint64_t enclave_main(struct thread *thread, uint64_t function, void *argument)
{
	uint32_t low = 0xffffffff, high = 0xffffffff;
	uint64_t rounds = 0;

	(void)thread;
	(void)argument;
	*(uint16_t *)image.legacy = 0x37f;
	*(uint32_t *)(image.legacy + 24) = 0x1f80;
	image.xstate_bv = function ? 1ull << 63 : 2; /* not 2: a component that nobody has */
	for (; rounds < 3; rounds++) {
		for (uint64_t i = 0; i < sizeof(big); i += 4096)
			big[i]++;
		__asm__ volatile("xrstor64 (%0)" : : "r"(&image), "a"(low), "d"(high) : "memory", "xmm0", "xmm1", "xmm2",
				 "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13",
				 "xmm14", "xmm15");
	}
	return rounds;
}
