/*
 * An SGX runtime as the thread means it: the code that loads, initialises and executes enclaves.
 *
 * runtimes/DESIGN/ has one for each delivery design, a shared object that exports `sgx_runtime`.  What differs between
 * them is how they learn of exceptions.  Two copies of the object are two runtimes that know nothing of each other.
 */
#ifndef SCENARIOS_RUNTIME_H
#define SCENARIOS_RUNTIME_H

#include <stddef.h>
#include <stdint.h>

#define SGX_PAGE 4096ul
#define SGX_TCS_COUNT 4		/* of every enclave */
#define SGX_SSA_FRAMES 3	/* of every TCS: exceptions nest so deep */

#define EENTER 2
#define ERESUME 3
#define EEXIT 4

struct sgx_enclave {
	int fd;
	uint8_t *base;		/* ELRANGE */
	uint64_t size;
	uint64_t text, data;	/* offsets of the segments; TCSes come first, a page each */
	uint64_t heap, spare;	/* offsets of the heap and of the addresses without pages behind it */
	uint64_t spare_pages;
};

static inline uint8_t *sgx_tcs(const struct sgx_enclave *enclave, unsigned int index)
{
	return enclave->base + index * SGX_PAGE;
}

/* An exception of the enclave, or of the ENCLU that was to enter it. */
struct sgx_exception {
	uint32_t leaf;		/* EENTER: ENCLU itself faulted; ERESUME: after an asynchronous exit */
	uint16_t vector;
	uint16_t error_code;
	uint64_t address;	/* #PF: of the access, within an enclave that of its page */
};

enum sgx_decision {
	SGX_FAIL,	/* call() returns EFAULT; the enclave stays interrupted until reset() */
	SGX_RESUME,	/* ERESUME: the host has removed the cause */
	SGX_HANDLE,	/* EENTER at the next CSSA, so that the enclave may handle it; then ERESUME, or fail if it would not */
};

typedef uint64_t (*sgx_ocall)(void *context, void *argument);

/* What the host gives the enclave during a call. */
struct sgx_host {
	const sgx_ocall *ocalls;
	size_t ocall_count;
	/* Called on the thread of call(), below the enclave's use of the stack.  NULL: SGX_FAIL, always. */
	enum sgx_decision (*exception)(void *context, const struct sgx_exception *exception);
	void *context;
};

/* Everything that a program has in a processor, but for segments. */
struct sgx_registers {
	uint8_t fxsave[512];		/* x87, MXCSR, XMM */
	uint8_t ymm_high[16][16];	/* 0 without AVX */
	uint64_t gpr[16];		/* as instructions number them: RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, ... */
	uint64_t rflags;
} __attribute__((aligned(64)));

/* All functions return 0 or an errno. */
struct sgx_runtime {
	const char *design;

	/* Registers with the kernel, in the way of the design. */
	int (*start)(void);
	/* Undoes it.  ENOTCONN: not started. */
	int (*stop)(void);

	/* `image` is an ELF file; its SIGSTRUCT is next to it, in `image`.sig. */
	int (*load)(struct sgx_enclave *enclave, const char *image);
	void (*unload)(struct sgx_enclave *enclave);

	/*
	 * An ECALL.  `tcs` is the address of a TCS, and nobody checks that it is one.  `host` may be NULL: no OCALLs.
	 *
	 * EFAULT	ended by an exception, which is in *exception
	 * EOPNOTSUPP	the design has no way to carry out what `host` decided; *exception tells of what
	 * ENOSYS	ended by an OCALL that `host` does not have
	 * ENOTCONN	the runtime is not started
	 * others	registering for this thread or entry failed
	 */
	int (*call)(const struct sgx_enclave *enclave, void *tcs, uint64_t function, void *argument,
		    const struct sgx_host *host, uint64_t *result, struct sgx_exception *exception);

	/* Has the enclave give up all interrupted frames of a TCS, so that it can be called again. */
	int (*reset)(const struct sgx_enclave *enclave, void *tcs);

	/*
	 * The instance "probe" only, else NULL: the registers before and after the last use of what the design offers for
	 * entering, be it a vDSO function or the instruction.  Before it, all that are free have values of their own.
	 * This instance makes no OCALLs and resumes nothing.
	 */
	const struct sgx_registers *before, *after;
};

#endif
