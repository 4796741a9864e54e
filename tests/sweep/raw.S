/*
 * Enters an enclave from a signal's handler, with registers that no runtime has, and keeps what it leaves in them.  A flat
 * image without an address of its own; raw.py knows its symbols.
 */
	.text
leaf:		.quad 0
tcs:		.quad 0
rdi:		.quad 0
rsi:		.quad 0
rsp:		.quad 0				/* 0: the thread's own */
rflags:		.quad 0
mxcsr:		.quad 0
x87_cw:		.quad 0
x87_values:	.quad 0				/* how many registers of the x87 stack are in use */
outcome:	.quad 0				/* of the entry: 0 is EEXIT, otherwise the signal that came */
left_gprs:	.fill 16, 8, 0			/* as GPR_NAMES has them */
left_rflags:	.quad 0
own_rsp:	.quad 0
	.balign 64
left_state:	.fill 832, 1, 0			/* XSAVE, with AVX */
	.balign 16
signal_stack:	.fill 16384, 1, 0

/* The handler of the signal that has it enter. */
enter:
	.irp register, rbx, rbp, r12, r13, r14, r15
	push %\register
	.endr
	fninit
	mov x87_values(%rip), %rcx
	jrcxz .Lfilled
.Lfill:
	fld1
	loop .Lfill
.Lfilled:
	fldcw x87_cw(%rip)
	ldmxcsr mxcsr(%rip)
	mov %rsp, own_rsp(%rip)
	mov tcs(%rip), %rbx
	lea aep(%rip), %rcx
	mov rdi(%rip), %rdi
	mov rsi(%rip), %rsi
	mov rsp(%rip), %rdx
	test %rdx, %rdx
	cmovz %rsp, %rdx
	mov leaf(%rip), %rax
	pushq rflags(%rip)
	popfq
	mov %rdx, %rsp
	.byte 0x0f, 0x01, 0xd7			/* ENCLU */
	.set index, 0
	.irp register, rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15
	mov %\register, left_gprs + 8 * index(%rip)
	.set index, index + 1
	.endr
	mov own_rsp(%rip), %rsp
	pushfq
	popq left_rflags(%rip)
	mov $7, %eax
	xor %edx, %edx
	xsave64 left_state(%rip)
	jmp .Lback
/* After an AEX: the kernel has brought a page back, say.  What a signal tells is not gone on with. */
aep:
	.byte 0x0f, 0x01, 0xd7
stopped:
	mov own_rsp(%rip), %rsp
.Lback:
	pushq $2
	popfq
	fninit
	pushq $0x1f80
	ldmxcsr (%rsp)
	pop %rax
	.irp register, r15, r14, r13, r12, rbp, rbx
	pop %\register
	.endr
	ret

/* The handler of the signals by which exceptions come. */
caught:
	mov %rdi, outcome(%rip)
	lea stopped(%rip), %rax
	mov %rax, 168(%rdx)			/* RIP, in ucontext_t */
	ret

restorer:
	mov $15, %eax				/* rt_sigreturn */
	syscall
