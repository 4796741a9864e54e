/*
 * Around ENCLU.  Frames are found by RBP, which an enclave keeps (EEXIT) or has restored (AEX); in RSP it may leave
 * anything lower, where it has put data for us: what is above RSP as it was left is not touched.
 */
#include "agent.h"

	.set SAVED_FRAME, -48		/* from RBP: the struct frame */

	.macro OPEN_FRAME
	push %rbp
	mov %rsp, %rbp
	push %rbx
	push %r12
	push %r13
	push %r14
	push %r15
	push %rdi
	mov %rbp, FRAME_RBP(%rdi)
	mov $EENTER, %eax
	.endm

	.macro CLOSE_FRAME
	lea -40(%rbp), %rsp
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbx
	pop %rbp
	ret
	.endm

/* RDI, RSI, RDX, R8, R9, R10, control words and flags as Python wants them.  R10 before: the channel. */
	.macro LOAD_REGISTERS
	ldmxcsr default_mxcsr(%rip)
	fldcw default_fcw(%rip)
	mov CHANNEL_IN(%r10), %rdi
	mov CHANNEL_IN + 8(%r10), %rsi
	mov CHANNEL_IN + 16(%r10), %rdx
	mov CHANNEL_IN + 24(%r10), %r8
	mov CHANNEL_IN + 32(%r10), %r9
	mov CHANNEL_IN + 40(%r10), %r10
	.endm

/* All but R10, which the caller has pushed.  R10: the channel. */
	.macro SAVE_REGISTERS
	mov %rax, CHANNEL_OUT(%r10)
	mov %rcx, CHANNEL_OUT + 8(%r10)
	mov %rdx, CHANNEL_OUT + 16(%r10)
	mov %rbx, CHANNEL_OUT + 24(%r10)
	lea 8(%rsp), %rcx
	mov %rcx, CHANNEL_OUT + 32(%r10)
	mov %rbp, CHANNEL_OUT + 40(%r10)
	mov %rsi, CHANNEL_OUT + 48(%r10)
	mov %rdi, CHANNEL_OUT + 56(%r10)
	mov %r8, CHANNEL_OUT + 64(%r10)
	mov %r9, CHANNEL_OUT + 72(%r10)
	mov (%rsp), %rcx
	mov %rcx, CHANNEL_OUT + 80(%r10)
	mov %r11, CHANNEL_OUT + 88(%r10)
	mov %r12, CHANNEL_OUT + 96(%r10)
	mov %r13, CHANNEL_OUT + 104(%r10)
	mov %r14, CHANNEL_OUT + 112(%r10)
	mov %r15, CHANNEL_OUT + 120(%r10)
	.endm

/* The enclave was left, and registers tell how: RAX the leaf, RDI the vector, RSI the error code, RDX the address. */
	.macro SAVE_EVENT
	push %r10
	mov SAVED_FRAME(%rbp), %r10
	mov FRAME_CHANNEL(%r10), %r10
	SAVE_REGISTERS
	mov %eax, %eax
	mov %rax, CHANNEL_LEAF(%r10)
	mov %rdi, CHANNEL_VECTOR(%r10)
	mov %rsi, CHANNEL_ERROR_CODE(%r10)
	mov %rdx, CHANNEL_ADDRESS(%r10)
	.endm

/*
 * Has EAX, the leaf to execute next, or 0.  DF and AC may be what the enclave made of them; RSP is as it was left.
 */
	.macro EVENT of=event
	lea 8(%rsp), %rbx
	and $-16, %rsp
	pushq $2
	popfq
	mov SAVED_FRAME(%rbp), %rdi
	call \of
	mov %rbx, %rsp
	.endm

	.text

/* An ENCLU of our own, or a bare one in the vDSO. */
	.globl enter_at, enter_enclu, enter_returned, enter_end
enter_at:
	OPEN_FRAME
.Lagain:
	mov SAVED_FRAME(%rbp), %r10
	mov FRAME_TCS(%r10), %rbx
	mov FRAME_CHANNEL(%r10), %r10
	LOAD_REGISTERS
	mov enter_address(%rip), %rcx
	jmp *%rcx
enter_enclu: /* And the AEP: after an interrupt, resume. */
	.byte 0x0f, 0x01, 0xd7
enter_returned:
	SAVE_EVENT
	EVENT
	test %eax, %eax
	jnz .Lagain
	CLOSE_FRAME
enter_end:

/* A function of the vDSO, with arguments as prepare() has them.  It keeps RBP and RSP. */
	.globl enter_by_function, function_left
enter_by_function:
	OPEN_FRAME
.Lcall:
	mov %rsp, %rbx
	and $-16, %rsp
	mov SAVED_FRAME(%rbp), %rdi
	mov %eax, %esi
	call prepare
	mov %rbx, %rsp
	mov SAVED_FRAME(%rbp), %r11
	mov FRAME_CHANNEL(%r11), %r10
	LOAD_REGISTERS
	and $-16, %rsp
	sub $8, %rsp
	push FRAME_ARGUMENTS + 48(%r11)
	mov FRAME_ARGUMENTS(%r11), %rdi
	mov FRAME_ARGUMENTS + 8(%r11), %rsi
	mov FRAME_ARGUMENTS + 16(%r11), %rdx
	mov FRAME_ARGUMENTS + 24(%r11), %rcx
	mov FRAME_ARGUMENTS + 32(%r11), %r8
	mov FRAME_ARGUMENTS + 40(%r11), %r9
	mov enter_address(%rip), %rax
	call *%rax
	cmpb $0, calls_back(%rip)
	jne .Lover
	add $16, %rsp
	push %r10
	mov SAVED_FRAME(%rbp), %r10
	mov FRAME_CHANNEL(%r10), %r10
	SAVE_REGISTERS
	EVENT of=function_event
	jmp .Lgo_on
function_left: /* By a signal, out of the vDSO's function. */
	SAVE_EVENT
	EVENT
.Lgo_on:
	test %eax, %eax
	jnz .Lcall
.Lover:
	CLOSE_FRAME

/*
 * int (rdi, rsi, rdx, ursp, r8, r9, void *info): sgx_enclave_user_handler_t.  The vDSO enters with the registers that
 * it leaves.
 */
	.globl enter_handler
enter_handler:
	push %rbp
	mov %rsp, %rbp
	push %rbx
	mov 16(%rbp), %rbx		/* info of the struct frame */
	push %r10
	mov FRAME_CHANNEL - FRAME_INFO(%rbx), %r10
	SAVE_REGISTERS
	mov CHANNEL_OUT + 8(%r10), %rcx
	mov %rcx, CHANNEL_OUT + 32(%r10)	/* RSP of the enclave's exit */
	lea -FRAME_INFO(%rbx), %rdi
	and $-16, %rsp
	pushq $2
	popfq
	call function_event
	mov FRAME_CHANNEL - FRAME_INFO(%rbx), %r10
	LOAD_REGISTERS
	mov -8(%rbp), %rbx
	leave
	ret

/* long spawn(unsigned long flags, void *stack, struct channel *channel): clone(2); the child serves the channel. */
	.globl spawn
spawn:
	mov %rdx, %r8
	xor %edx, %edx
	xor %r10d, %r10d
	mov $56, %eax
	syscall
	test %eax, %eax
	jnz 1f
	xor %ebp, %ebp
	mov %r8, %rdi
	call begin_thread
	ud2
1:	ret

/* void cpuid(uint64_t *args): leaf and subleaf become EAX, EBX, ECX, EDX and XCR0. */
	.globl cpuid
	.type cpuid, @function
cpuid:
	.cfi_startproc
	push %rbx
	mov (%rdi), %eax
	mov 8(%rdi), %ecx
	cpuid
	mov %rax, (%rdi)
	mov %rbx, 8(%rdi)
	mov %rcx, 16(%rdi)
	mov %rdx, 24(%rdi)
	xor %ecx, %ecx
	xgetbv
	mov %eax, 32(%rdi)
	mov %edx, 36(%rdi)
	pop %rbx
	ret
	.cfi_endproc
	.size cpuid, . - cpuid

	.globl restorer, _start
restorer:
	mov $15, %eax			/* rt_sigreturn */
	syscall

_start:
	xor %ebp, %ebp
	mov %rsp, %rdi
	and $-16, %rsp
	call begin
	ud2

	.section .rodata
default_mxcsr:
	.long 0x1f80
default_fcw:
	.word 0x37f

	.section .note.GNU-stack, "", @progbits
