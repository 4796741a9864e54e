/*
 * The vDSO with __vdso_sgx_enter_enclave() as the RFC's first two versions had it: a C function around inline
 * assembly.  Contract: struct enclu_sgx_enclave_exception and enclu_vdso_2018_enter_enclave_t in enclu_sgx.h.
 */
#include "common.h"

#define EENTER		2
#define EFAULT		14

/* struct enclu_sgx_enclave_exception */
#define INFO_LEAF	0
#define INFO_TRAPNR	4
#define INFO_ERROR_CODE	6
#define INFO_ADDRESS	8

/* Below the saved registers. An enclave keeps RBP (EEXIT) or has it restored (AEX). */
#define INFO		-48(%rbp)

/*
 * int __vdso_sgx_enter_enclave(void *tcs, void *priv, struct enclu_sgx_enclave_exception *info)
 *
 * 0 after an EEXIT, -EFAULT after an exception, which `info` then tells unless it is null.  Always EENTER, with priv
 * in RDI; the enclave gets the other registers as they happen to be.
 *
 * What the assembly clobbered, a compiler saved: all that the ABI calls callee-saved.  And as compiled C, it counts
 * on RSP: an enclave that leaves the untrusted stack pointer elsewhere has this return elsewhere.
 */
	.balign	64
	.globl	__vdso_sgx_enter_enclave
	.type	__vdso_sgx_enter_enclave, @function
__vdso_sgx_enter_enclave:
	.cfi_startproc
	push	%rbp
	.cfi_def_cfa_offset 16
	.cfi_offset %rbp, -16
	mov	%rsp, %rbp
	.cfi_def_cfa_register %rbp
	push	%r15
	.cfi_offset %r15, -24
	push	%r14
	.cfi_offset %r14, -32
	push	%r13
	.cfi_offset %r13, -40
	push	%r12
	.cfi_offset %r12, -48
	push	%rbx
	.cfi_offset %rbx, -56
	push	%rdx		/* INFO */

	mov	%rdi, %rbx
	mov	%rsi, %rdi
	mov	$EENTER, %eax
	lea	.Lresume(%rip), %rcx
	IN_PROCESS_JUMP
.Lenter:
	.byte	0x0f, 0x01, 0xd7
	EXTABLE	.Lenter, .Lexception
	xor	%eax, %eax
	jmp	.Lreturn
.Lresume: /* The AEP. ERESUME does not come back; an EEXIT goes behind .Lenter. */
	.byte	0x0f, 0x01, 0xd7
	EXTABLE	.Lresume, .Lexception
	ud2

.Lexception: /* The fixup.  EAX: leaf, RDI: trap number, RSI: error code, RDX: address. */
	mov	INFO, %rbx
	test	%rbx, %rbx
	jz	1f
	mov	%eax, INFO_LEAF(%rbx)
	mov	%di, INFO_TRAPNR(%rbx)
	mov	%si, INFO_ERROR_CODE(%rbx)
	mov	%rdx, INFO_ADDRESS(%rbx)
1:	mov	$-EFAULT, %eax

.Lreturn: /* EAX: the result. */
	add	$8, %rsp
	pop	%rbx
	pop	%r12
	pop	%r13
	pop	%r14
	pop	%r15
	pop	%rbp
	.cfi_def_cfa %rsp, 8
	ret
	.cfi_endproc
	.size	__vdso_sgx_enter_enclave, . - __vdso_sgx_enter_enclave
