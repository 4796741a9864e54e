/*
 * Entry and exit as the SDK's trusted runtime has them: an ECALL's number or a command in RDI, its structure in RSI; the
 * stack of the thread is gone on with from its innermost OCALL; EXCEPT at CSSA 1 on a stack of its own.
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
	.quad 4, 3				/* MODE64BIT; x87 and SSE */
	.long 1, 1				/* EXINFO; an SSA frame has one page */

	.set index, 0
	.macro TCS
	.quad 0, 0
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

/* What FS and GS point to: struct thread of trts.c. */
	.set SELF, 0
	.set LAST_SP, 8
	.set STACK_BASE, 16
	.set SSA, 24
	.set EXIT_TO, 32
	.set GPR_URSP, 4096 - 184 + 144
	.set GPR_URBP, 4096 - 184 + 152

	.text
	.globl enclave_entry
enclave_entry:
	mov %rcx, %r15
	test %rax, %rax
	jne .Lexception
	cmpq $0, %fs:SELF
	jne .Lknown
	mov %rbx, %r8				/* the TCS's index says where its stack and SSA frames are */
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
.Lknown:
	mov %r15, %fs:EXIT_TO
	cmp $ORET, %rdi
	je .Loret
	mov %rsp, %r14				/* as the SDK does, the end is with the RSP of the beginning */
	mov %rbp, %r13
	mov %fs:LAST_SP, %rsp
	push %r14
	push %r13
	push %r15
	push %rbx
	cld
	mov %rbx, %rdx
	call trts_enter
	pop %rbx
	pop %rbx
	pop %rbp
	pop %rsp
	mov %rax, %rsi
	mov $ERET, %rdi
	mov $4, %eax
	.byte 0x0f, 0x01, 0xd7

.Lexception:
	mov %rsp, %r14
	lea exception_stack_end(%rip), %rsp
	push %r14
	push %rbp
	push %r15
	push %rbx
	mov %rbx, %rsi
	call trts_exception
	pop %rbx
	pop %rbx
	pop %rbp
	pop %rsp
	mov %rax, %rsi
	mov $ERET, %rdi
	mov $4, %eax
	.byte 0x0f, 0x01, 0xd7

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
	mov GPR_URSP(%rax), %rsp
	mov $4, %eax
	.byte 0x0f, 0x01, 0xd7
.Loret:
	mov %fs:LAST_SP, %rsp
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
	.irp register, r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax
	pop %\register
	.endr
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
	.fill 4096, 1, 0
exception_stack_end:
	.globl enclave_tls
enclave_tls:
	.fill TCSES * 4096, 1, 0
	.section .note.GNU-stack, "", @progbits
