/*
 * How an enclave of the tests' own is entered and left, by the Fortanix SGX ABI.  GS is the page before the TCS: at 0
 * the offset of the stack's end, at 8 flags, at 16 the stack pointer of a usercall under way, at 24 and on the host's.
 */
	.set FLAGS, 8
	.set SP, 16
	.set RETURN, 24
	.set HOST_RSP, 32
	.set HOST_RBP, 40
	.set DEBUG, 48
	.set TCS, 56
	.set EEXIT, 4

	.text
	.globl sgx_entry
	.type sgx_entry, @function
sgx_entry:
	mov %rcx, %gs:RETURN
	mov %rsp, %gs:HOST_RSP
	mov %rbp, %gs:HOST_RBP
	mov %r10, %gs:DEBUG
	mov %rbx, %gs:TCS
	cmpq $0, %gs:SP
	jne return_from_usercall
	lea -0x1000(%rbx), %rsp
	and $-16, %rsp
	xor %ebp, %ebp
	mov %gs:FLAGS, %rcx			/* enclave_main(RDI, RSI, RDX, secondary, R8, R9) */
	call enclave_main
	mov %rax, %rsi
	xor %edi, %edi
leave:
	mov %gs:HOST_RSP, %rsp
	mov %gs:HOST_RBP, %rbp
	mov %gs:RETURN, %rbx
	mov $EEXIT, %eax
	.byte 0x0f, 0x01, 0xd7
	ud2

/* struct results usercall(uint64_t rdi, uint64_t rsi, uint64_t rdx, uint64_t r8, uint64_t r9) */
	.globl usercall
	.type usercall, @function
usercall:
	push %rbx
	push %rbp
	push %r12
	push %r13
	push %r14
	push %r15
	mov %r8, %r9
	mov %rcx, %r8
	mov %rsp, %gs:SP
	jmp leave
return_from_usercall:
	mov %gs:SP, %rsp
	movq $0, %gs:SP
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbp
	pop %rbx
	mov %rsi, %rax
	ret

	.section .note.GNU-stack, "", @progbits
