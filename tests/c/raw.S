/* ENCLU without the vDSO: int raw_enter_*(leaf RDI, tcs RSI, request RDX, struct raw_fault *RCX) */

	.macro ENCLU
	.byte 0x0f, 0x01, 0xd7
	.endm

	.macro ENTER name, aep
	.globl raw_enter_\name, raw_\name\()_enclu
	.type raw_enter_\name, @function
raw_enter_\name:
	push %rbx
	push %rbp
	push %r12
	push %r13
	push %r14
	push %r15
	push %rcx                       /* (RSP): the raw_fault, for raw_faulted */
	mov %rdi, %rax
	mov %rsi, %rbx
	mov %rdx, %rdi
	lea \aep(%rip), %rcx
raw_\name\()_enclu:
	ENCLU
	xor %eax, %eax
	jmp leave
	.endm

	.text
	ENTER count, raw_count_aep
	ENTER once, raw_once_aep
	ENTER direct, raw_direct_enclu

	.globl raw_enter_at, raw_returned
	.type raw_enter_at, @function
raw_enter_at:
	push %rbx
	push %rbp
	push %r12
	push %r13
	push %r14
	push %r15
	push %rcx
	mov %rdi, %rax
	mov %rsi, %rbx
	mov %rdx, %rdi
	mov %r8, %rcx
	jmp *%r8
raw_returned:
	cmp $4, %eax
	jne raw_faulted
	xor %eax, %eax
	jmp leave

	.globl raw_count_aep, raw_once_aep, raw_faulted
raw_count_aep:
	lock incq raw_aex_count(%rip)
	ENCLU

raw_once_aep:
	mov $1, %eax
	jmp leave

raw_faulted:
	mov (%rsp), %r8
	mov %rax, 0(%r8)
	mov %rdi, 8(%r8)
	mov %rsi, 16(%r8)
	mov %rdx, 24(%r8)
	mov %rbx, 32(%r8)
	mov %rcx, 40(%r8)
	mov $2, %eax
leave:
	pushf                           /* AC stays as the enclave had it; unaligned accesses are common here */
	andl $~0x40000, (%rsp)
	popf
	pop %rcx
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbp
	pop %rbx
	ret

/*
 * int vdso_call(rdi, rsi, rdx, leaf, r8, r9, run, function): the vDSO keeps no registers that the ABI calls
 * callee-saved but RBP and RSP.
 */
	.globl vdso_call
	.type vdso_call, @function
vdso_call:
	mov 8(%rsp), %rax
	mov 16(%rsp), %r10
	push %rbx
	push %r12
	push %r13
	push %r14
	push %r15
	sub $8, %rsp
	push %rax
	call *%r10
	add $16, %rsp
	pushf
	andl $~0x40000, (%rsp)
	popf
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbx
	ret

	.bss
	.balign 8
	.globl raw_aex_count
raw_aex_count:
	.quad 0
	.section .note.GNU-stack, "", @progbits
