/* What enclaves have in common that speak as the SDK's trusted runtime.  SDK: rts_cmd.h, rts.h, sgx_error.h. */
#ifndef ENCLU_TESTS_HOST_SDK_PROTOCOL_H
#define ENCLU_TESTS_HOST_SDK_PROTOCOL_H

#include "trusted.h"

enum command {
	ECMD_INIT_ENCLAVE = -1, ECMD_ORET = -2, ECMD_EXCEPT = -3, ECMD_MKTCS = -4, ECMD_UNINIT_ENCLAVE = -5, ECMD_ECALL_PTHREAD = -6,
	EDMM_ALLOC = -6, EDMM_MODIFY = -7,
};
enum status {
	SGX_SUCCESS, SGX_ERROR_UNEXPECTED, SGX_ERROR_INVALID_PARAMETER, SGX_ERROR_OUT_OF_MEMORY,
	SGX_ERROR_INVALID_FUNCTION = 0x1001, SGX_ERROR_ENCLAVE_CRASHED = 0x1006, SGX_ERROR_ECALL_NOT_ALLOWED = 0x1007,
	SGX_ERROR_STACK_OVERRUN = 0x1009,
};
#define STACK_SIZE 0x4000ul	/* of each thread */
#define RED_ZONE 128

/* What FS and GS point to, of each TCS.  protocol.S knows the first six. */
struct trusted_thread {
	struct trusted_thread *self;
	uint64_t last_sp, stack_base;
	uint8_t *ssa;
	uint64_t exit_to;
	uint64_t notify;	/* whether code that goes on is to be notified of AEXs */
	uint64_t tcs, counter;
	int64_t exceptions;	/* that are being handled; -1: no handler could do anything */
	uint32_t ocall;		/* under way; 0 is none, else its number + 1 */
};

/* As continue_execution() takes it from the stack. */
struct context {
	uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax, rflags, rip;
};

uint32_t sgx_ocall(uint32_t number, void *ms);
_Noreturn void continue_execution(struct context *context);

/* Where everything about the TCS is that has been entered. */
struct trusted_thread *trusted_thread(void);

/* What an AEX at CSSA 0 saves. */
struct ssa_gpr *interrupted(void);

/* Memory on the host's stack, until the ECALL is over. */
void *sgx_ocalloc(size_t size);

/* sgx_ocall() of one of the interface; nested ECALLs learn which. */
uint32_t make_ocall(uint32_t number, void *ms);

/* What was interrupted, below the red zone of its stack. */
struct context *keep_interrupted(const struct ssa_gpr *saved);

/* The first phase of exception handling: when interrupted code is resumed, the second one runs there. */
void run_when_resumed(struct ssa_gpr *saved, void (*handler)(struct context *context, uint32_t vector));

#endif
