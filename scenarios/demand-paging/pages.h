#ifndef SCENARIOS_PAGES_H
#define SCENARIOS_PAGES_H

#include <stdint.h>

enum {
	PAGES_FILL,	/* argument: struct range; each byte of it becomes the number of its page, from 1; result: their sum */
	PAGES_ACCEPTED,	/* result: how many pages the enclave has accepted */
};

struct range {
	uint8_t *start;
	uint64_t pages;
};

#endif
