/* What the runtimes of all designs share. */
#ifndef SCENARIOS_RUNTIMES_CORE_H
#define SCENARIOS_RUNTIMES_CORE_H

/* Offsets in struct entry, for assembly. */
#define ENTRY_TCS 0
#define ENTRY_CALL 8

#ifdef __ASSEMBLER__
#define EENTER 2
#define ERESUME 3
#define EEXIT 4
#endif

#ifndef __ASSEMBLER__
#include "call.h"
#include "runtime.h"

#include <stdbool.h>

/* An ECALL under way.  It lives on its caller's stack. */
struct entry {
	void *tcs;
	struct sgx_call *call;		/* of the current depth; what RDI is at EENTER */
	const struct sgx_host *host;
	struct sgx_exception exception;	/* the last */
	int status;			/* what call() returns */
	uint32_t mxcsr;			/* the caller's control words, which enclaves and AEX change */
	uint16_t x87_control;
	unsigned int depth;		/* exceptions that the enclave is handling */
	struct sgx_call calls[SGX_SSA_FRAMES];
};

/* What a design's own file provides. */
struct design {
	int (*start)(void);		/* 0 or an errno */
	int (*stop)(void);
	/*
	 * Enters with EENTER, and tells entry_event() how the enclave was left; enters again with the leaf that it
	 * returns, until that is 0.
	 */
	void (*enter)(struct entry *entry);
};
extern const struct design design;

/*
 * The enclave was left, by EEXIT or by an exception.  Restores control words, makes the OCALL or asks the host what
 * to do.  Returns the leaf to execute next, or 0: call() ends with entry->status.
 */
unsigned int entry_event(struct entry *entry, uint64_t leaf, uint64_t vector, uint64_t error_code, uint64_t address);

/* Got an exception that is not of this runtime's ENCLU.  There is nobody to give it to. */
void entry_of_a_stranger(void) __attribute__((noreturn));

/* An ioctl of /dev/sgx_enclave.  0 or an errno. */
int device_ioctl(unsigned long command, void *argument);

/* A function of the vDSO, or NULL. */
void *vdso_symbol(const char *name);

/* enter.S: ENCLU in the runtime's own code. */
void enter_enclave(struct entry *entry);
extern uint8_t enter_enclu[];	/* the ENCLU, and the AEP */
extern uint8_t enter_faulted[];	/* an exception goes on here, with the registers that enclu_sgx.h tells */
extern uint8_t enter_end[];	/* end of enter_enclave() */

/* jump.S: the same by a bare ENCLU in the vDSO. */
void enter_by_jump(struct entry *entry);
extern void *vdso_function;	/* that ENCLU */
extern uint8_t enter_returned[];	/* exits and exceptions go on here */

/* trampoline.c: code that jumps to `target`, from within reach of the vDSO's JMP rel32.  A page, or NULL. */
void *trampoline(void *vdso, void *target);

/* call.S: calls a function of the vDSO, which need not keep any register but RSP and RBP. */
void call_function(struct entry *entry, const uint64_t arguments[7], void *function);

/* probe.S, of the instance that records registers: calls the function, which looks like this one. */
#ifdef PROBE
void probe_call(void);
extern void *probe_function;
extern struct sgx_registers probe_before, probe_after;
#define PROBED(function) (probe_function = (void *)(function), (__typeof__(function))probe_call)
#else
#define PROBED(function) (function)
#endif

int enclave_load(struct sgx_enclave *enclave, const char *image);
void enclave_unload(struct sgx_enclave *enclave);
#endif

#endif
