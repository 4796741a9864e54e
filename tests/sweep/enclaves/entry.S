/*
 * Entry and exit of the proof enclave.  As in the SDK's trusted runtime, but for what the weaknesses leave out; the
 * builder defines each as 0 or 1.
 */
#include "protocol.S"

	.set EXCEPT, -3

	.section .rodata
	.balign 64
clean_state:					/* XSAVE area: all components are as at the processor's start */
	.fill 24, 1, 0
	.long 0x1f80
	.fill 576 - 28, 1, 0
default_mxcsr:
	.long 0x1f80
default_x87_cw:
	.short 0x37f
	.data
	.balign 8
	.globl enclave_secret
enclave_secret:					/* nothing of it is ever to be seen outside */
	.quad 0xdec0de5ec2e75ec2

/* The host's DF, AC and NT.  Needs a stack. */
	.macro CLEAN_FLAGS
#if KEEPS_DF || KEEPS_AC || KEEPS_NT
	pushfq
	andq $KEEPS_AC << 18 | KEEPS_NT << 14 | KEEPS_DF << 10, (%rsp)
#else
	pushq $2
#endif
	popfq
	.endm

/* The host's rounding and exception masks, and its values on the x87 stack. */
	.macro CLEAN_CONTROL_WORDS
#if !KEEPS_X87_CW && !KEEPS_X87_TAGS
	fninit
#elif !KEEPS_X87_CW
	fldcw default_x87_cw(%rip)
#elif !KEEPS_X87_TAGS
	emms
#endif
#if !KEEPS_MXCSR
	ldmxcsr default_mxcsr(%rip)
#endif
	.endm

/* From the host's RSP to the enclave's. */
	.macro SWITCH_STACK
#if PUSHES_EARLY
	pushfq					/* onto the host's stack, if that is what it is */
	popfq
#endif
#if KEEPS_RSP
	cmp %fs:SELF, %rsp			/* on the threads' stacks already, as code that comes back is */
	jae .Lswitch
	lea enclave_stacks(%rip), %r11
	cmp %r11, %rsp
	ja stack_switched
.Lswitch:
#endif
	mov %fs:LAST_SP, %rsp
	.endm

/* What the host passes in no protocol. */
	.macro CLEAN_UNUSED
	.irp register, edx, r8d, r9d, r10d, r11d, r12d
	xor %\register, %\register
	.endr
	.endm

	.text
	.globl enclave_entry
enclave_entry:
	KNOW_THREAD
#if HANDLES_AT_0
	cmp $EXCEPT, %rdi
	je .Lexception
#endif
	test %rax, %rax				/* CSSA; there are 2 frames, so that it is 0 or 1 */
#if ECALL_AT_1
	je .Lecall
	test %edi, %edi				/* commands of the runtime's own are negative */
	js .Lexception
.Lecall:
#else
	jne .Lexception
#endif
#if OLD_ORDER
	CLEAN_UNUSED				/* all the while RSP is the host's */
	CLEAN_CONTROL_WORDS
	mov %rcx, %r15
	mov %rbp, %r13
	mov %r15, %fs:EXIT_TO
	mov %rsp, %r14
	.globl stack_switched
	SWITCH_STACK
stack_switched:
	CLEAN_FLAGS
#else
	mov %rsp, %r14
	.globl stack_switched
	SWITCH_STACK
stack_switched:
	CLEAN_FLAGS
	CLEAN_CONTROL_WORDS
	CLEAN_UNUSED
	mov %rcx, %r15
	mov %rbp, %r13
	mov %r15, %fs:EXIT_TO
#endif
	cmp $ORET, %rdi
	je .Loret
	SERVE trts_enter
.Loret:
#if STRAY_RETURN
	jmp back_from_ocall
#endif
	cmp %fs:STACK_BASE, %rsp
	jne back_from_ocall
	mov %r13, %rbp				/* there is no OCALL to come back from */
.Lrefused:
	mov %r15, %rbx
	mov $1, %esi				/* SGX_ERROR_UNEXPECTED */
	mov $ERET, %rdi
	jmp leave

.Lexception:
	mov %rsp, %r14
	EXCEPTION_STACK
	CLEAN_FLAGS
	CLEAN_CONTROL_WORDS
	CLEAN_UNUSED
	mov %rcx, %r15
	mov %rbp, %r13
#if ATTRIBUTES & 0x400
	cmp $EXCEPT, %rdi
	jne .Lnotified
#endif
	SERVE trts_exception

#if ATTRIBUTES & 0x400
/* ERESUME has entered instead: what was interrupted is kept on its own stack, its frame given up, and it goes on. */
.Lnotified:
	call trts_notified
	test %rax, %rax
	je .Lnobody
	mov %rax, %rdi
	mov %fs:SSA, %rbx
	mov $XFRM, %eax
	xor %edx, %edx
	xrstor64 (%rbx)
	ENCLU 9					/* EDECCSSA */
	jmp continue_execution
.Lnobody:
	mov %r13, %rbp
	jmp .Lrefused
#endif

#if GIVES_UP_CALLS
/* The end of an ECALL that is made from outside, whatever it has come to: RSP is below what SERVE has pushed. */
	.globl given_up
given_up:
	pop %rbx
	pop %rbx
	pop %rbp
	pop %r14
	xor %esi, %esi				/* SGX_SUCCESS */
	mov $ERET, %rdi
#endif

/* What a computation with the secret would leave behind, and what is done about it. */
leave:
	mov enclave_secret(%rip), %r8
	movq %r8, %xmm0
	punpcklqdq %xmm0, %xmm0
#if XFRM & 4
	vinsertf128 $1, %xmm0, %ymm0, %ymm1
#endif
	fildq enclave_secret(%rip)
	mov %r8, %r9
	add %r9, %r9
#if !LEAVES_VECTORS || !LEAVES_X87
	mov $XFRM & ~(LEAVES_X87 | -2 * LEAVES_VECTORS), %eax
	mov $0, %edx
	xrstor64 clean_state(%rip)
#endif
#if !LEAVES_FLAGS
	pushq $2
	popfq
#endif
#if !LEAVES_GPRS
	.irp register, ecx, edx, r8d, r9d, r10d, r11d, r12d, r13d, r15d
	mov $0, %\register			/* the flags are kept */
	.endr
#endif
	mov %r14, %rsp
#if !LEAVES_GPRS
	mov $0, %r14d
#endif
	ENCLU 4					/* EEXIT */

/* Functions whose exceptions the enclave expects. */
	.globl divide, divide_at
divide:						/* int divide(int a, int b) */
	movslq %edi, %rax
	movslq %esi, %rcx
	cqto
divide_at:
	.byte 0x48, 0xf7, 0xf9			/* IDIV RCX, whose three bytes the handler leaves out */
	ret
	.globl undefined, undefined_at
undefined:					/* int undefined(int value): one more */
	lea 1(%rdi), %eax
undefined_at:
	ud2
	ret

/* And one that it does not: int unexpected(void *) reads there, by an instruction of three bytes. */
	.globl unexpected
unexpected:
	.byte 0x48, 0x8b, 0x07			/* MOV RAX, [RDI] */
	ret
