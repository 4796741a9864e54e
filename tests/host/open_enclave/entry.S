/*
 * How an enclave of the tests' own is entered and left, by Open Enclave's conventions.  FS and GS are the page of the
 * thread: at 8 the stack pointer of an OCALL under way, at 16 the host's return address, at 24 and 32 its RSP and RBP,
 * at 40 the context for OCALLs.  The stack ends a page before the TCS.
 */
	.set SP, 8
	.set RETURN, 16
	.set HOST_RSP, 24
	.set HOST_RBP, 32
	.set CONTEXT, 40
	.set SSA, 0x1000			/* from the TCS */
	.set GPRSGX, 4096 - 184			/* in an SSA frame */
	.set EEXIT, 4

	.text
	.globl oe_enter
	.type oe_enter, @function
oe_enter:
	test %rax, %rax
	jnz exception
	mov %rcx, %gs:RETURN
	mov %rsp, %gs:HOST_RSP
	mov %rbp, %gs:HOST_RBP
	mov %rdi, %rax
	shr $48, %rax
	cmp $4, %eax				/* ORET */
	je return_from_ocall
	cmpq $0, %gs:SP
	jne reentered
	mov %rdx, %gs:CONTEXT
	lea -0x1000(%rbx), %rsp
	xor %ebp, %ebp
	call enclave_ecall			/* RDI, RSI; the answer is in RAX and RDX */
	mov %rax, %rdi
	mov %rdx, %rsi
leave:
	mov %gs:HOST_RSP, %rsp
	mov %gs:HOST_RBP, %rbp
	mov %gs:RETURN, %rbx
	mov $EEXIT, %eax
	.byte 0x0f, 0x01, 0xd7
	ud2

reentered:					/* ERET, with OE_REENTRANT_ECALL */
	movabs $2 << 48 | 4, %rdi
	xor %esi, %esi
	jmp leave

/* struct answer host_call(uint64_t rdi, uint64_t rsi) */
	.globl host_call
	.type host_call, @function
host_call:
	push %rbx
	push %rbp
	push %r12
	push %r13
	push %r14
	push %r15
	mov %rsp, %gs:SP
	jmp leave
return_from_ocall:
	mov %gs:SP, %rsp
	movq $0, %gs:SP
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbp
	pop %rbx
	mov %rdi, %rax
	mov %rsi, %rdx
	ret

/* On the stack of what was interrupted, below its red zone. */
exception:
	mov %rcx, %r12
	mov %rsp, %r13
	mov %rbp, %r14
	lea SSA + GPRSGX(%rbx), %rdx
	mov 32(%rdx), %rsp			/* GPRSGX.RSP */
	sub $256, %rsp
	and $-16, %rsp
	call enclave_exception			/* RDI, RSI, struct registers *; the answer is in RAX and RDX */
	mov %rax, %rdi
	mov %rdx, %rsi
	mov %r13, %rsp
	mov %r14, %rbp
	mov %r12, %rbx
	mov $EEXIT, %eax
	.byte 0x0f, 0x01, 0xd7
	ud2

	.section .note.GNU-stack, "", @progbits
