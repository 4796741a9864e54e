/*
 * What an enclave is made of, besides a file of one's own with enclave_main().  `enclu build` compiles both.
 *
 *	uint64_t enclave_main(struct thread *thread, uint64_t function, void *argument)
 *	{
 *		return function == 0 ? ocall(thread, 7, argument) : 0;
 *	}
 *
 * See also sgx.h (EREPORT, EGETKEY, EACCEPT, RDRAND), sealing.h, and of the C library <string.h> (memcpy, memmove,
 * memset, memcmp, strlen, strcmp) and <stdlib.h> (malloc, calloc, free: from the pages of `enclu build --heap` and `--spare`).
 */
#ifndef ENCLU_ENCLAVE_TRUSTED_H
#define ENCLU_ENCLAVE_TRUSTED_H

#include "call.h"

#include <stdbool.h>
#include <stddef.h>

#define SGX_PAGE 4096ul
#define SGX_SSA_FRAMES 3	/* of every TCS: exceptions nest so deep */

/* A TCS at one CSSA.  entry.S knows the first five. */
struct thread {
	uint64_t last_sp;	/* of the innermost OCALL under way, 0 if there is none */
	uint64_t exit_to;	/* where EEXIT goes, and with which RSP and RBP */
	uint64_t exit_rsp;
	uint64_t exit_rbp;
	struct sgx_call *call;
	uint64_t tcs, cssa;
	uint64_t notify;	/* the code that runs here has asked for AEX-Notify */
};

/* GPRSGX, at the end of an SSA frame. */
struct ssa_gpr {
	uint64_t rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15;
	uint64_t rflags, rip, ursp, urbp;
	uint32_t exitinfo;
	uint8_t reserved[3], aexnotify;
	uint64_t fsbase, gsbase;
};

/* MISC.EXINFO, before GPRSGX. */
struct ssa_exinfo {
	uint64_t address;
	uint32_t error_code, reserved;
};

#define EXITINFO_VALID 0x80000000u
#define EXITINFO_VECTOR 0xffu

/* An ECALL, the enclave's own; its result. */
uint64_t enclave_main(struct thread *thread, uint64_t function, void *argument);

/*
 * An exception, at the next CSSA: true if `gpr` has been changed so that the interrupted code can go on.  Unless an
 * enclave has one of its own, it is accept_spare_page().  It is called for exceptions that the processor tells of
 * (EXITINFO.VALID), and not again for one for which it was true.
 */
bool enclave_exception(struct ssa_gpr *gpr, const struct ssa_exinfo *exinfo);

/* A page among the spare addresses was touched for the first time, and is there now. */
bool accept_spare_page(const struct ssa_gpr *gpr, const struct ssa_exinfo *exinfo);

/*
 * AEX-Notify, of enclaves made by `enclu build --aex-notify`; false of others, which are never notified.  After every
 * AEX of this thread, until the ECALL or exception is over or it is not `wanted` any more, enclave_notified() is called
 * before what was interrupted goes on; OCALLs aside.  It runs at the next CSSA, on the stack of that, and must return.
 */
bool notify_of_aex(struct thread *thread, bool wanted);
void enclave_notified(const struct ssa_gpr *gpr);

/* In enclave_exception(): the thread that handles, for OCALLs; the one before it was interrupted. */
struct thread *exception_thread(const struct ssa_gpr *gpr);

/*
 * Leaves the enclave to have its host do something: the host's result, which may be anything.  So may be what it does
 * with `argument`, which is for memory outside or a number.
 */
uint64_t ocall(struct thread *thread, uint64_t number, void *argument);

/*
 * Nothing of it is in the enclave, and it is not NULL, unless `size` is 0.  Whoever follows a pointer that came from outside asks first: the host would have
 * the enclave read or overwrite its own secrets.  And it copies what is there before it looks: the host can change it.
 */
bool is_outside(const void *start, uint64_t size);

/*
 * Memory on the host's stack, below its RSP: until the end of the ECALL.  With `visible`, the SSA frame is told so
 * that an asynchronous exit leaves RSP below it, too.
 */
void *allocate_untrusted(struct thread *thread, uint64_t size, bool visible);

/* The SSA frame that an exit at this CSSA fills. */
struct ssa_gpr *ssa_gpr(const struct thread *thread);

extern uint8_t enclave_base[];	/* ELRANGE */
extern uint8_t enclave_end[];	/* of the image: where the heap begins, and behind it the spare addresses */
extern const uint64_t enclave_heap_pages;	/* read-write pages */
extern const uint64_t enclave_spare_pages;	/* addresses without pages: the kernel adds one (EAUG) when it is first touched */
extern uint8_t enclave_tls[64];	/* what FS points to */

#endif
