/*
 * What enclaves are made of: entry.S and trusted.c, and a file of one's own with enclave_main().
 */
#ifndef SCENARIOS_TRUSTED_H
#define SCENARIOS_TRUSTED_H

#include "call.h"
#include "runtime.h"

#include <stdbool.h>

/* A TCS at one CSSA.  entry.S knows the first five. */
struct thread {
	uint64_t last_sp;	/* of the innermost OCALL under way, 0 if there is none */
	uint64_t exit_to;	/* where EEXIT goes, and with which RSP and RBP */
	uint64_t exit_rsp;
	uint64_t exit_rbp;
	struct sgx_call *call;
	uint64_t tcs, cssa;
	uint64_t reserved;
};

/* GPRSGX, at the end of an SSA frame. */
struct ssa_gpr {
	uint64_t rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15;
	uint64_t rflags, rip, ursp, urbp;
	uint32_t exitinfo, reserved;
	uint64_t fsbase, gsbase;
};

/* MISC.EXINFO, before GPRSGX. */
struct ssa_exinfo {
	uint64_t address;
	uint32_t error_code, reserved;
};

#define EXITINFO_VALID 0x80000000u
#define EXITINFO_VECTOR 0xffu

/* An ECALL; its result. */
uint64_t enclave_main(struct thread *thread, uint64_t function, void *argument);

/*
 * An exception, at the next CSSA: true if `gpr` has been changed so that the interrupted code can go on.  Unless an
 * enclave has one of its own, none is repaired.
 */
bool enclave_exception(struct ssa_gpr *gpr, const struct ssa_exinfo *exinfo);

/* In enclave_exception(): the thread that handles, for OCALLs; the one before it was interrupted. */
struct thread *exception_thread(const struct ssa_gpr *gpr);

uint64_t ocall(struct thread *thread, uint64_t number, void *argument);

/*
 * Memory on the host's stack, below its RSP: until the end of the ECALL.  With `visible`, the SSA frame is told so
 * that an asynchronous exit leaves RSP below it, too.
 */
void *allocate_untrusted(struct thread *thread, uint64_t size, bool visible);

/* The SSA frame that an exit at this CSSA fills. */
struct ssa_gpr *ssa_gpr(const struct thread *thread);

extern uint8_t enclave_base[];
extern uint8_t enclave_end[];	/* of the image: where the heap begins or, without one, the spare addresses */
extern uint8_t enclave_tls[64];	/* what FS points to */

#endif
