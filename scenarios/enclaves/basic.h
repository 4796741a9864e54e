/* The enclave that most scenarios use: it runs a list of steps. */
#ifndef SCENARIOS_BASIC_H
#define SCENARIOS_BASIC_H

#include <stdint.h>

enum step_kind {
	STEP_END,
	STEP_ADD,		/* result = a + b */
	STEP_READ,		/* result = *(u64 *)a */
	STEP_WRITE,		/* *(u64 *)a = b */
	STEP_UD,		/* UD2 */
	STEP_DIVIDE,		/* result = a / b */
	STEP_GP,		/* reads a non-canonical address */
	STEP_BP,		/* INT3 */
	STEP_OCALL,		/* result = OCALL number a with argument b */
	STEP_SPIN,		/* until *(u32 *)a != 0; first *(u32 *)b = 1 */
	STEP_PUSH_OCALL,	/* puts u64 b on the host's stack; result = OCALL number a with its address */
	STEP_PUSH_UD,		/* puts u64 b on the host's stack, tells the SSA, UD2; result = what is there afterwards */
	STEP_NEST,		/* UD2, and so does each handler of it */
	STEP_OVERWRITE,		/* a bytes of the host's stack, from its RSP upwards, become b; below, if a is negative */
};

/*
 * An exception in a step that the enclave is asked to handle (SGX_HANDLE) ends the step: `result` is then
 * STEP_HANDLED | the vector that the SSA tells.
 */
#define STEP_HANDLED 0xeec0000u

struct step {
	uint64_t kind, a, b;
	uint64_t result;
};

enum { BASIC_RUN }; /* argument: steps, the last of which is STEP_END; result: how many were done */

#endif
