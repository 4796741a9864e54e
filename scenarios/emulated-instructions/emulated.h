#ifndef SCENARIOS_EMULATED_H
#define SCENARIOS_EMULATED_H

#include <stdint.h>

enum {
	EMULATED_RUN,		/* argument: struct emulated; result: how many instructions the enclave has emulated */
	EMULATED_UNKNOWN,	/* an UD2 that stands for nothing */
};

enum { OCALL_CPUID, OCALL_SYSCALL };	/* argument: struct emulated */

#define PORT 0x71

/* What the instructions in the enclave found, and room for what the enclave asks its host. */
struct emulated {
	uint32_t cpuid[4];	/* EAX, EBX, ECX, EDX of leaf 0x12 */
	uint64_t pid;
	uint64_t port;
	uint64_t others_kept;	/* registers that no instruction changes */
	uint64_t ask[4];	/* registers for the host, and back */
};

static inline uint8_t port_value(uint16_t port)
{
	return 0x5a ^ port;
}

#endif
