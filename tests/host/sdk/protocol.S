/*
 * What enclaves have in common that speak as the SDK's trusted runtime: their image, what FS and GS point to, how they
 * make OCALLs, and how interrupted code goes on.
 *
 * The builder defines TCSES, ATTRIBUTES and XFRM.  Who includes it has enclave_entry, and `leave`: EEXIT with RDI and RSI
 * as they are, to RBX, with the RSP that is in R14; RBP is the host's already.
 */
	.set ORET, -2
	.set ERET, -1
	.set FRAMES, 2
	.set STACK_PAGES, 4

	.section .note.enclu, "a", @note
	.balign 4
	.long 6, 40, 1
	.asciz "enclu"
	.balign 4
	.quad 0, 16				/* addresses behind the image, for pages added at run time */
	.quad ATTRIBUTES, XFRM
	.long 1, 1				/* EXINFO; an SSA frame has one page */

	.set index, 0
	.macro TCS
	.quad 0, ATTRIBUTES >> 9 & 2		/* STATE, FLAGS: AEXNOTIFY as ATTRIBUTES has it */
	.quad ssa_offset + index * FRAMES * 4096
	.long 0, FRAMES
	.quad entry_offset
	.quad 0, tls_offset + index * 4096, tls_offset + index * 4096
	.long 0xfff, 0xfff
	.fill 4024, 1, 0
	.set index, index + 1
	.endm
	.section .tcs, "aw"
	.balign 4096
	.globl first_tcs
first_tcs:
	.rept TCSES
	TCS
	.endr

/* What FS and GS point to: struct trusted_thread of protocol.h.  Its page ends with the stack of CSSA 1. */
	.set SELF, 0
	.set LAST_SP, 8
	.set STACK_BASE, 16
	.set SSA, 24
	.set EXIT_TO, 32
	.set NOTIFY, 40

/* An SSA frame, which is a page. */
	.set GPR_URSP, 4056
	.set GPR_URBP, 4064
	.set GPR_AEXNOTIFY, 4079

	.macro ENCLU leaf
	mov $\leaf, %eax
	.byte 0x0f, 0x01, 0xd7
	.endm

/* The first time that a TCS is entered, its index says where its stack and SSA frames are.  Uses R8, R9 and R10. */
	.macro KNOW_THREAD
	cmpq $0, %fs:SELF
	jne .Lknown\@
	mov %rbx, %r8
	lea enclave_base(%rip), %r9
	sub %r9, %r8
	shr $12, %r8
	mov %r8, %r9
	inc %r9
	imul $STACK_PAGES * 4096, %r9, %r9
	lea enclave_stacks(%rip), %r10
	add %r10, %r9
	mov %r9, %fs:STACK_BASE
	mov %r9, %fs:LAST_SP
	imul $FRAMES * 4096, %r8, %r9
	lea enclave_ssa(%rip), %r10
	add %r10, %r9
	mov %r9, %fs:SSA
	shl $12, %r8
	lea enclave_tls(%rip), %r9
	add %r8, %r9
	mov %r9, %fs:SELF
.Lknown\@:
	.endm

	.macro EXCEPTION_STACK
	mov %fs:SELF, %rsp
	lea 4096(%rsp), %rsp
	.endm

/*
 * uint32_t function(command, ms, tcs), then EEXIT with its status.  R14, R13 and R15 are the host's RSP and RBP, and where
 * to exit to; as the SDK does, the end is with the RSP of the beginning.
 */
	.macro SERVE function
	push %r14
	push %r13
	push %r15
	push %rbx
	mov %rbx, %rdx
	call \function
	pop %rbx
	pop %rbx
	pop %rbp
	pop %r14
	mov %rax, %rsi
	mov $ERET, %rdi
	jmp leave
	.endm

	.text
/* uint32_t sgx_ocall(index, ms): the stack pointer outside is that in the SSA frame, which sgx_ocalloc changes. */
	.globl sgx_ocall
sgx_ocall:
	push %rbx
	push %rbp
	push %r12
	push %r13
	push %r14
	push %r15
	pushq %fs:LAST_SP
	mov %rsp, %fs:LAST_SP
	mov %fs:SSA, %rax
	mov %fs:EXIT_TO, %rbx
	mov GPR_URBP(%rax), %rbp
	mov GPR_URSP(%rax), %r14
	jmp leave
/* ORET: RSP is LAST_SP, RSI the OCALL's status. */
back_from_ocall:
	mov %rsi, %rax
	popq %fs:LAST_SP
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbp
	pop %rbx
	ret

/* void continue_execution(struct context *): goes on with what was interrupted. */
	.globl continue_execution
continue_execution:
	mov %rdi, %rsp
	.irp register, r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx
	pop %\register
	.endr
#if ATTRIBUTES & 0x400
	mov %fs:SSA, %rax			/* of all that an AEX could disturb nothing is left */
	mov %fs:NOTIFY, %ecx
	mov %cl, GPR_AEXNOTIFY(%rax)
#endif
	pop %rcx
	pop %rax
	popfq
	ret $128				/* RIP lies below the red zone */

	.section .ssa, "aw", @progbits
	.balign 4096
	.globl enclave_ssa
enclave_ssa:
	.fill TCSES * FRAMES * 4096, 1, 0
	.section .stacks, "aw", @progbits
	.balign 4096
enclave_stacks:
	.fill TCSES * STACK_PAGES * 4096, 1, 0
	.globl enclave_tls
enclave_tls:
	.fill TCSES * 4096, 1, 0
	.section .note.GNU-stack, "", @progbits
