/* Around the vDSO's function, which keeps RBX, RBP and RSP only. */
#include "frame.h"

	.text
/* void enter_by_vdso(struct entry *entry, struct sgx_enclave_run *run, void *function) */
	SHARED enter_by_vdso
	.type enter_by_vdso, @function
enter_by_vdso:
	OPEN_FRAME
	mov %rdx, %rax
	mov ENTRY_CALL(%rdi), %rdi	/* For the enclave. */
	push %rsi			/* The seventh argument. */
	mov $EENTER, %ecx
	BEFORE rbx, rdx, rsi, r8, r9, r10, r11, r12, r13, r14, r15
	call *%rax
	AFTER
	CLOSE_FRAME
	.cfi_endproc
	.size enter_by_vdso, . - enter_by_vdso

/*
 * The callback: int (rdi, rsi, rdx, ursp, r8, r9, struct sgx_enclave_run *run).  The vDSO goes on with the registers
 * that it leaves, so it sets RDI for the enclave.
 */
	SHARED enter_handler
	.type enter_handler, @function
enter_handler:
	.cfi_startproc
	push %rbx
	.cfi_def_cfa_offset 16
	.cfi_offset %rbx, -16
	mov 16(%rsp), %rdi
	mov 32(%rdi), %rbx		/* run->user_data: the entry */
	CLEAR_FLAGS
	call on_run
	mov ENTRY_CALL(%rbx), %rdi
	pop %rbx
	.cfi_def_cfa_offset 8
	ret
	.cfi_endproc
	.size enter_handler, . - enter_handler
	.section .note.GNU-stack, "", @progbits
