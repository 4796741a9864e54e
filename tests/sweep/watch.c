/*
 * An enclave that does what a word in untrusted memory says, which the host may change in between: what a host can bring
 * about by that is what the sweep's outcomes are about.
 */
#include "trusted.h"

enum { ANSWER, CRASH, HANG, ESCAPE, ADD };

uint64_t enclave_main(struct thread *thread, uint64_t function, void *argument)
{
	const volatile uint64_t *word = argument;

	if (function == 1) /* twice, with an OCALL in between */
		return *word + ocall(thread, 0, 0) + *word;
	switch (*word) {
	case ANSWER:
		return 7;
	case CRASH:
		__builtin_trap();
	case HANG:
		for (;;)
			;
	case ESCAPE: /* EEXIT to nowhere */
		__asm__ volatile("enclu" : : "a"(4ul), "b"(8ul));
	}
	return *word;
}
