/*
 * Touches pages: b of them from address a on, c pages apart, or (c = 0) any of them in pseudo-random order, b touches.
 * Where b is 0 it executes UD2.
 */
#include "requests.h"

#define PAGE 4096

void encl_body(struct request *request, uint64_t cssa, uint8_t *tcs);

void encl_body(struct request *request, uint64_t cssa, uint8_t *tcs)
{
	uint64_t pages = request->b, random = 88172645463325252;

	(void)cssa, (void)tcs;
	if (!pages)
		__asm__ volatile("ud2");
	for (uint64_t i = 0; i < pages; i++) {
		uint64_t page = i * request->c;

		if (!request->c) {
			random ^= random << 13, random ^= random >> 7, random ^= random << 17;
			page = random % pages;
		}
		*(volatile uint64_t *)(request->a + page * PAGE) += 1;
	}
}
