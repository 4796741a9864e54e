/* The program's first instruction, its way into enclaves, and what C cannot say. */

#include "registers.h"

/* struct transition */
	.set OUT, 136
	.set HOW, 272

	.macro SAVE
	push %rbx
	push %rbp
	push %r12
	push %r13
	push %r14
	push %r15
	mov %rsp, stack(%rip)
	.endm

	.macro LOAD			/* all but RSP */
	push transition + RFLAGS(%rip)
	popf
	mov transition + 0(%rip), %rax
	mov transition + 8(%rip), %rcx
	mov transition + 16(%rip), %rdx
	mov transition + 24(%rip), %rbx
	mov transition + 40(%rip), %rbp
	mov transition + 48(%rip), %rsi
	mov transition + 56(%rip), %rdi
	mov transition + 64(%rip), %r8
	mov transition + 72(%rip), %r9
	mov transition + 80(%rip), %r10
	mov transition + 88(%rip), %r11
	mov transition + 96(%rip), %r12
	mov transition + 104(%rip), %r13
	mov transition + 112(%rip), %r14
	mov transition + 120(%rip), %r15
	.endm

	.text
	.globl _start
	.type _start, @function
_start:
	xor %ebp, %ebp
	mov %rsp, %rdi
	and $-16, %rsp
	call begin
	ud2
	.size _start, . - _start

/* void raw_enter(void): ENCLU with `transition.in`; RSP is ours. */
	.globl raw_enter, raw_enclu, raw_exited, raw_aep, raw_recover
	.type raw_enter, @function
raw_enter:
	SAVE
	mov %rsp, transition + 32(%rip)
	LOAD
raw_enclu:
	ENCLU
raw_exited:
	EACH mov, transition + OUT(%rip)
	movq $0, transition + HOW(%rip)
	mov stack(%rip), %rsp
	pushf
	pop transition + OUT + RFLAGS(%rip)
/* After a signal, whose handler has filled in the rest. */
raw_recover:
	mov stack(%rip), %rsp
	push $2
	popf
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbp
	pop %rbx
	ret
/* An AEX that nobody was told of: the enclave goes on. */
raw_aep:
	ENCLU
	ud2
	.size raw_enter, . - raw_enter

/* void outside_call(void): the code at transition.how, with `transition.in`; it ends in RET. */
	.globl outside_call
	.type outside_call, @function
outside_call:
	SAVE
	LOAD
	call *transition + HOW(%rip)
	EACH mov, transition + OUT(%rip)
	movq $0, transition + HOW(%rip)
	pushf
	pop transition + OUT + RFLAGS(%rip)
	jmp raw_recover
	.size outside_call, . - outside_call

/* void vdso_call(run, function): __vdso_sgx_enter_enclave() with `transition.in`; RSP is ours. */
	.globl vdso_call
	.type vdso_call, @function
vdso_call:
	SAVE
	push %rsi
	push %rdi
	mov %rsp, transition + 32(%rip)
	LOAD
	call *8(%rsp)
	EACH mov, transition + OUT(%rip)
	pushf
	pop transition + OUT + RFLAGS(%rip)
	add $16, %rsp
	jmp raw_recover
	.size vdso_call, . - vdso_call

/* int vdso_handler(...): an enclave that is entered again finds in RDI what an entry has there. */
	.globl vdso_handler
	.type vdso_handler, @function
vdso_handler:
	sub $8, %rsp
	push 16(%rsp)			/* the seventh argument */
	call handle
	add $16, %rsp
	mov transition + 56(%rip), %rdi
	ret
	.size vdso_handler, . - vdso_handler

/* Outside, for comparison: the same as enclave.S has. */
	.globl outside_read, outside_write, outside_enclu_66, outside_enclu_f2, outside_enclu_f3, outside_enclu_lock
outside_read:
	mov (%rbx), %rax
	ret
outside_write:
	mov %rax, (%rbx)
	ret
outside_enclu_66:
	.byte 0x66
	ENCLU
	ret
outside_enclu_f2:
	.byte 0xf2
	ENCLU
	ret
outside_enclu_f3:
	.byte 0xf3
	ENCLU
	ret
outside_enclu_lock:
	.byte 0xf0
	ENCLU
	ret

/* void cpuid(leaf, subleaf, out) */
	.globl cpuid
	.type cpuid, @function
cpuid:
	push %rbx
	mov %rdx, %r8
	mov %edi, %eax
	mov %esi, %ecx
	cpuid
	mov %eax, 0(%r8)
	mov %ebx, 4(%r8)
	mov %ecx, 8(%r8)
	mov %edx, 12(%r8)
	pop %rbx
	ret
	.size cpuid, . - cpuid

/* void load_state(image, components) */
	.globl load_state
	.type load_state, @function
load_state:
	mov %esi, %eax
	mov %rsi, %rdx
	shr $32, %rdx
	xrstor64 (%rdi)
	ret
	.size load_state, . - load_state

/* A handler is called with the flags of what was interrupted: with AC, it would not get far. */
	.globl signal_handler
	.type signal_handler, @function
signal_handler:
	push $2
	popf
	jmp on_signal
	.size signal_handler, . - signal_handler

	.globl signal_restorer
	.type signal_restorer, @function
signal_restorer:
	mov $15, %eax
	syscall
	.size signal_restorer, . - signal_restorer

/* long start_thread(void *stack_top, void (*function)(void)): clone(2) with everything shared */
	.globl start_thread
	.type start_thread, @function
start_thread:
	mov %rsi, %r8
	mov %rdi, %rsi
	mov $0x10f00, %edi		/* CLONE_VM | FS | FILES | SIGHAND | THREAD */
	xor %edx, %edx
	xor %r10d, %r10d
	mov $56, %eax
	syscall
	test %rax, %rax
	jz 1f
	ret
1:	xor %ebp, %ebp
	call *%r8
	xor %edi, %edi
	mov $60, %eax
	syscall
	ud2
	.size start_thread, . - start_thread

	.bss
	.balign 8
stack:	.quad 0
	.section .note.GNU-stack, "", @progbits
