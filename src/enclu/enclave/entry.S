/*
 * Entry and exit of an enclave, its TCSes, SSA frames and stacks, and what loaders are to know of it.
 *
 * The builder defines TCSES, STACK_PAGES (of each TCS and CSSA), HEAP_PAGES, SPARE_PAGES, ATTRIBUTES, XFRM, MISCSELECT.
 */
#include "call.h"

	.set FRAMES, 3

/* host/images/elf.py declares it. */
	.section .note.enclu, "a", @note
	.balign 4
	.long 6, 40, 1				/* sizes of name and content, type */
	.asciz "enclu"
	.balign 4
	.quad HEAP_PAGES, SPARE_PAGES
	.quad ATTRIBUTES, XFRM			/* what SECS is to have */
	.long MISCSELECT, 1			/* pages of an SSA frame */

/* struct thread */
	.set LAST_SP, 0
	.set EXIT_TO, 8
	.set EXIT_RSP, 16
	.set EXIT_RBP, 24
	.set THREAD_CALL, 32
	.set THREAD_TCS, 40
	.set THREAD_CSSA, 48
	.set THREAD_SIZE, 64

/* An SSA frame, which is a page. */
	.set GPRSGX, 3912
	.set AEXNOTIFY, 4079
	.set RSP_KEPT, 3888			/* of the frame, in front of EXINFO */

	.set index, 0
	.macro TCS
	.quad 0, ATTRIBUTES >> 9 & 2		/* STATE, FLAGS: AEXNOTIFY as ATTRIBUTES has it */
	.quad ssa_offset + index * FRAMES * 4096 /* OSSA */
	.long 0, FRAMES				/* CSSA, NSSA */
	.quad entry_offset			/* OENTRY */
	.quad 0, tls_offset, 0			/* AEP, OFSBASE, OGSBASE */
	.long 0xffffffff, 0xffffffff		/* FSLIMIT, GSLIMIT */
	.fill 4024, 1, 0
	.set index, index + 1
	.endm

	.section .tcs, "aw"
	.balign 4096
	.rept TCSES
	TCS
	.endr

/* The host's rounding and exception masks are not the enclave's, unless it has no use for these registers. */
	.macro CONTROL_WORDS
#ifdef __SSE__
	fninit
	ldmxcsr default_mxcsr(%rip)
#endif
	.endm
/* Nothing of the enclave's is left in them; without XRSTOR, which is slow where XFRM is not all that the processor has. */
	.macro CLEAR_EXTENDED
#ifdef __SSE__
	fninit
	.rept 8
	fldz
	.endr
	fninit
#if XFRM & 4
	vzeroall
#else
	.irp register, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	pxor %xmm\register, %xmm\register
	.endr
#endif
#if XFRM & 0xe0
	.irp register, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
	vpxorq %zmm\register, %zmm\register, %zmm\register
	.endr
	.irp register, 0, 1, 2, 3, 4, 5, 6, 7
	kxorw %k\register, %k\register, %k\register
	.endr
#endif
	ldmxcsr default_mxcsr(%rip)
#endif
	.endm

	.section .rodata
default_mxcsr:
	.long 0x1f80

	.text
/*
 * EENTER: RAX = CSSA, RBX = TCS, RCX = where to EEXIT to, RDI = the struct sgx_call.  Every TCS has a struct thread
 * and a stack for each CSSA.
 */
	.globl enclave_entry
enclave_entry:
	lea enclave_base(%rip), %r10
	mov %rbx, %r11
	sub %r10, %r11
	shr $12, %r11
	lea (%r11, %r11, 2), %r11		/* index * FRAMES */
	add %rax, %r11
	lea enclave_stacks(%rip), %r9
	imul $STACK_PAGES * 4096, %r11, %r8
	lea STACK_PAGES * 4096(%r9, %r8), %r9	/* top of the stack */
#if ATTRIBUTES & ATTRIBUTE_AEXNOTIFY
	test %rdi, %rdi
	jz .Lnotified				/* at the AEP, registers are 0 */
#endif
	shl $6, %r11				/* THREAD_SIZE */
	lea enclave_threads(%rip), %r10
	add %r11, %r10				/* the struct thread */
	mov %rcx, EXIT_TO(%r10)
	mov %rsp, EXIT_RSP(%r10)
	mov %rbp, EXIT_RBP(%r10)
	mov %rdi, THREAD_CALL(%r10)
	mov %rbx, THREAD_TCS(%r10)
	mov %rax, THREAD_CSSA(%r10)
	mov LAST_SP(%r10), %r11
	test %r11, %r11
	cmovnz %r11, %r9			/* an OCALL is under way: below it */
	mov %r9, %rsp
	pushq $2				/* the host's DF and AC */
	popfq
	CONTROL_WORDS
	push %r10
	push %r10
	mov %r10, %rdi
	call trusted_enter
	pop %r10
	test %rax, %rax
	jz .Loret
.Lexit: /* R10: the struct thread; RAX: call_word(). */
	mov EXIT_TO(%r10), %rbx
	mov EXIT_RSP(%r10), %rsp
	mov EXIT_RBP(%r10), %rbp
	mov %rax, %rdi
	.irp register, ecx, edx, esi, r8d, r9d, r10d, r11d, r12d, r13d, r14d, r15d
	xor %\register, %\register
	.endr
	CLEAR_EXTENDED
	mov $4, %eax
	.byte 0x0f, 0x01, 0xd7			/* EEXIT */

/* void leave_for_ocall(struct thread *, uint64_t word) */
	.globl leave_for_ocall
leave_for_ocall:
	push %rbx
	push %rbp
	push %r12
	push %r13
	push %r14
	push %r15
	pushq LAST_SP(%rdi)
	mov %rsp, LAST_SP(%rdi)
	mov %rdi, %r10
	mov %rsi, %rax
	jmp .Lexit
.Loret: /* R10: the struct thread, whose OCALL goes on. */
	mov LAST_SP(%r10), %rsp
	popq LAST_SP(%r10)
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbp
	pop %rbx
	ret

#if ATTRIBUTES & ATTRIBUTE_AEXNOTIFY
/*
 * ERESUME has entered instead, for the frame below has AEXNOTIFY (SDM 3D ERESUME).  R11: index * FRAMES + CSSA, R9: the
 * stack.  What was interrupted goes on from here, not by the host: its extended state is loaded, its registers are
 * copied, with RAX, RFLAGS and RIP beneath the red zone of its stack, and its frame is given up by EDECCSSA.  An AEX up
 * to there, or in what follows, is an ordinary one.  AEXNOTIFY is set as the last of all that an AEX could disturb.
 */
.Lnotified:
	lea enclave_ssa - 4096(%rip), %rbx
	shl $12, %r11
	add %r11, %rbx				/* the frame below */
	test %rax, %rax
	jz .Lnobody
	testb $1, AEXNOTIFY(%rbx)
	jz .Lnobody
	mov %r9, %rsp
	pushq $2
	popfq
	CONTROL_WORDS
	movb $0, AEXNOTIFY(%rbx)
	lea GPRSGX(%rbx), %rdi
	call enclave_notified
#if XFRM == 3
	fxrstor64 (%rbx)			/* all that there is, and nothing that XCR0 has a say in */
#else
	mov $XFRM & 0xffffffff, %eax
	mov $XFRM >> 32, %edx
	xrstor64 (%rbx)
#endif
	mov GPRSGX + 32(%rbx), %r8
	lea -128 - 24(%r8), %r8
	mov GPRSGX + 0(%rbx), %rax
	mov %rax, 0(%r8)
	mov GPRSGX + 128(%rbx), %rax
	mov %rax, 8(%r8)			/* RFLAGS */
	mov GPRSGX + 136(%rbx), %rax
	mov %rax, 16(%r8)			/* RIP */
	mov %r8, RSP_KEPT(%rbx)
	.irp at, 120, 112, 104, 96, 88, 80, 72, 64, 56, 48, 40, 24, 16, 8
	pushq GPRSGX + \at(%rbx)
	.endr
	push %rbx
	mov $9, %eax
	.byte 0x0f, 0x01, 0xd7			/* EDECCSSA */
	pop %rax
	.irp register, rcx, rdx, rbx, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15
	pop %\register
	.endr
	mov RSP_KEPT(%rax), %rsp
	movb $1, AEXNOTIFY(%rax)
	pop %rax
	popfq
	ret $128
.Lnobody:
	ud2
#endif

	.section .ssa, "aw", @progbits
	.balign 4096
	.globl enclave_ssa
enclave_ssa:
	.fill TCSES * FRAMES * 4096, 1, 0

	.section .stacks, "aw", @progbits
	.balign 4096
enclave_stacks:
	.fill TCSES * FRAMES * STACK_PAGES * 4096, 1, 0
/* What FS points to, the same for all threads: compilers find the stack protector's word at 0x28.  On a page's start. */
	.globl enclave_tls
enclave_tls:
	.fill 64, 1, 0
	.globl enclave_threads
enclave_threads:
	.fill TCSES * FRAMES * THREAD_SIZE, 1, 0
	.section .note.GNU-stack, "", @progbits
