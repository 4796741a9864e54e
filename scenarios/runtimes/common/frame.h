/*
 * Assembly of the runtimes: the stack frame of a function that enters an enclave.
 *
 * It is found by RBP, which an enclave keeps (EEXIT) or has restored (AEX); in RSP it may leave anything: an enclave
 * that allocates on the untrusted stack leaves it lower.  What is below RSP as it was left is not touched.
 */
#include "core.h"

	.set FRAME_ENTRY, -48		/* the struct entry */

	.macro ENCLU
	.byte 0x0f, 0x01, 0xd7
	.endm

#include "probe.h"

/* For the other files of the runtime, and not for programs. */
	.macro SHARED names:vararg
	.irp name, \names
	.globl \name
	.hidden \name
	.endr
	.endm

/* DF and AC may be what the enclave made of them. */
	.macro CLEAR_FLAGS
	pushq $2
	popfq
	.endm

/* RDI: the entry. */
	.macro OPEN_FRAME
	.cfi_startproc
	push %rbp
	.cfi_def_cfa_offset 16
	.cfi_offset %rbp, -16
	mov %rsp, %rbp
	.cfi_def_cfa_register %rbp
	push %rbx
	.cfi_offset %rbx, -24
	push %r12
	.cfi_offset %r12, -32
	push %r13
	.cfi_offset %r13, -40
	push %r14
	.cfi_offset %r14, -48
	push %r15
	.cfi_offset %r15, -56
	push %rdi
	.endm

/*
 * The enclave was left.  RAX: leaf, RDI: vector, RSI: error code, RDX: address.  Does what entry_event() does and
 * has EAX, the leaf to execute next, or 0.
 */
	.macro EVENT
	mov %rsp, %rbx
	and $-16, %rsp
	CLEAR_FLAGS
	mov %rdx, %r8
	mov %rsi, %rcx
	mov %rdi, %rdx
	mov %rax, %rsi
	mov FRAME_ENTRY(%rbp), %rdi
	call entry_event
	mov %rbx, %rsp
	.endm

	.macro CLOSE_FRAME
	lea -40(%rbp), %rsp
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbx
	pop %rbp
	.cfi_remember_state
	.cfi_def_cfa %rsp, 8
	ret
	.cfi_restore_state
	.endm
