/*
 * The enclave of the cases: it loads the registers that it is told, executes one of the pieces of code below and says
 * which registers were left.  All that a case wants to know is in the case; this only executes it.
 *
 * image.h has what is assembled from this: no owner of hardware needs to.  When it has changed,
 * `python -m enclu.conform.image` makes image.h anew.  PAGE, STACKS and where text and data are come from there, too;
 * symbols are offsets in ELRANGE.
 */
#include "registers.h"

/* struct request */
	.set CODE, 0
	.set IN, 8
	.set ENTERED, 144
	.set OUT, 280

	.text
/*
 * EENTER: RAX CSSA, RBX TCS, RCX behind EENTER, RDI the request.  Nothing before PUSHF changes a flag: LEA adds, NOT
 * negates.  Each of the first two TCSes has a stack page for each CSSA; others use those of the second.
 */
	.globl at_entry
at_entry:
	EACH mov, registers(%rip)
	lea image(%rip), %r10
	not %r10
	lea 1(%r10, %rbx), %r11			/* RBX - image: the TCS's number * 4096 */
	lea (%r11, %r11, 2), %r11
	lea (, %rax, 8), %r9
	lea (, %r9, 8), %r9
	lea (, %r9, 8), %r9
	lea (, %r9, 8), %r9			/* CSSA * 4096 */
	lea (%r11, %r9), %r9
	lea STACKS + PAGE + image(%rip), %r11
	lea (%r11, %r9), %rsp
	jmp 1f

	.globl at_entry_shared
at_entry_shared:
	EACH mov, registers(%rip)
	lea STACKS + 4 * PAGE + image(%rip), %rsp
1:	pushf
	pop RFLAGS + registers(%rip)
	cld
	push 32 + registers(%rip)		/* RSP and RBP of the host */
	push %rbp
	push %rcx
	push %rdi
	lea ENTERED(%rdi), %rdi
	lea registers(%rip), %rsi
	mov $17, %ecx
	rep movsq
	mov (%rsp), %rdi
	push CODE(%rdi)
	push IN + RFLAGS(%rdi)
	popf
	mov IN + 0(%rdi), %rax
	mov IN + 8(%rdi), %rcx
	mov IN + 16(%rdi), %rdx
	mov IN + 24(%rdi), %rbx
	mov IN + 40(%rdi), %rbp
	mov IN + 48(%rdi), %rsi
	mov IN + 64(%rdi), %r8
	mov IN + 72(%rdi), %r9
	mov IN + 80(%rdi), %r10
	mov IN + 88(%rdi), %r11
	mov IN + 96(%rdi), %r12
	mov IN + 104(%rdi), %r13
	mov IN + 112(%rdi), %r14
	mov IN + 120(%rdi), %r15
	mov IN + 56(%rdi), %rdi
	ret					/* to the code */

/* Behind each piece of code.  AC and TF are put off first, lest they do more. */
	.balign 16
done:
	EACH mov, registers(%rip)
	pushf
	pop RFLAGS + registers(%rip)
	push $2
	popf
	mov (%rsp), %rdi
	lea OUT(%rdi), %rdi
	lea registers(%rip), %rsi
	mov $17, %ecx
	rep movsq
	pop %rdi
	pop %rbx
	pop %rbp
	pop %rsp
	mov $4, %eax
	ENCLU
	ud2

/* The pieces of code.  AT name: its beginning, which C knows as AT_name; an instruction, or more lines that follow. */
	.macro AT name:req, code:vararg
	.balign 16
	.globl at_\name
at_\name:
	.ifnb \code
	\code
	jmp done
	.endif
	.endm

	AT nothing, nop
	AT enclu, ENCLU
	AT read, mov (%rbx), %rax
	AT write, mov %rax, (%rbx)
	AT read_stack, mov (%rbp), %rax		/* by SS */
	AT copy, rep movsb
	AT call, call *%rax
	AT spin					/* [RDI] is 1 from now on; until [RSI] is not 0 */
	movl $1, (%rdi)
1:	cmpl $0, (%rsi)
	je 1b
	jmp done

/* Exceptions */
	AT ud2, ud2
	AT ud1, ud1 %eax, %eax
	AT int3, int3
	AT int1, .byte 0xf1
	AT bound, .byte 0x62, 0x03, 0, 0, 0, 0	/* BOUND EAX, [RBX] but in 64-bit mode */
	AT div, div %rcx
	AT hlt, hlt
	AT into, .byte 0xce
	AT x87
	fninit
	fldcw (%rbx)
	fld1
	fldz
	fdivrp
	.globl at_x87_waits
at_x87_waits:
	fwait
	jmp done
	AT simd
	ldmxcsr (%rbx)
	cvtsi2sdl (%rbx), %xmm0
	pxor %xmm1, %xmm1
	.globl at_simd_divides
at_simd_divides:
	divsd %xmm1, %xmm0
	jmp done
	AT lock_nop, .byte 0xf0, 0x90

/* Instructions that SDM 3D table 36-1 says are illegal */
	AT cpuid, cpuid
	AT getsec, .byte 0x0f, 0x37
	AT rdpmc, rdpmc
	AT sgdt, sgdt (%rbx)
	AT sidt, sidt (%rbx)
	AT sldt, sldt %eax
	AT str, str %eax
	AT vmcall, vmcall
	AT vmfunc, vmfunc
	AT in_dx, in %dx, %al
	AT in_imm, in $0x80, %al
	AT in_dx_32, in %dx, %eax
	AT insb, insb
	AT insl, insl
	AT out_dx, out %al, %dx
	AT out_imm, out %al, $0x80
	AT out_dx_32, out %eax, %dx
	AT outsb, outsb
	AT outsl, outsl
	AT far_call, lcall *(%rbx)
	AT far_jmp, ljmp *(%rbx)
	AT far_ret, lretq
	AT far_ret_imm, lretq $8
	AT iret, iretq
	AT int_80, int $0x80
	AT int_2e, int $0x2e
	AT int_3_long, .byte 0xcd, 0x03
	AT syscall, syscall
	AT sysenter, sysenter
	AT sysret, sysretq
	AT sysexit, sysexitq
	AT mov_ds, mov %eax, %ds
	AT mov_es, mov %eax, %es
	AT mov_ss, mov %eax, %ss
	AT mov_fs, mov %eax, %fs
	AT mov_gs, mov %eax, %gs
	AT pop_fs
	push $0
	.globl at_pop_fs_pops
at_pop_fs_pops:
	pop %fs
	jmp done
	AT pop_gs
	push $0
	.globl at_pop_gs_pops
at_pop_gs_pops:
	pop %gs
	jmp done
	AT lss, lss (%rbx), %ecx
	AT lfs, lfs (%rbx), %ecx
	AT lgs, lgs (%rbx), %ecx
	AT smsw, smsw %eax
	AT enclu_66, .byte 0x66, 0x0f, 0x01, 0xd7
	AT enclu_f2, .byte 0xf2, 0x0f, 0x01, 0xd7
	AT enclu_f3, .byte 0xf3, 0x0f, 0x01, 0xd7
	AT enclu_lock, .byte 0xf0, 0x0f, 0x01, 0xd7
	AT encls, .byte 0x0f, 0x01, 0xcf
	AT enclv, .byte 0x0f, 0x01, 0xc0

/* Privileged ones */
	AT cli, cli
	AT sti, sti
	AT clts, clts
	AT invd, invd
	AT wbinvd, wbinvd
	AT invlpg, invlpg (%rbx)
	AT lgdt, lgdt (%rbx)
	AT lidt, lidt (%rbx)
	AT lldt, lldt %ax
	AT ltr, ltr %ax
	AT lmsw, lmsw %ax
	AT mov_from_cr0, mov %cr0, %rax
	AT mov_from_cr2, mov %cr2, %rax
	AT mov_to_cr2, mov %rax, %cr2
	AT mov_to_cr3, mov %rax, %cr3
	AT mov_from_cr4, mov %cr4, %rax
	AT mov_to_cr4, mov %rax, %cr4
	AT mov_from_cr8, mov %cr8, %rax
	AT mov_to_cr8, mov %rax, %cr8
	AT mov_from_dr0, mov %db0, %rax
	AT mov_to_dr0, mov %rax, %db0
	AT mov_from_dr7, mov %db7, %rax
	AT rdmsr, rdmsr
	AT wrmsr, wrmsr
	AT swapgs, swapgs
	AT xsetbv, xsetbv
	AT rsm, rsm
	AT monitor, monitor
	AT mwait, mwait

/* Legal ones */
	AT rdtsc, rdtsc
	AT rdtscp, rdtscp
	AT rdrand, rdrand %rax
	AT pause, pause
	AT rdfsbase, rdfsbase %rax
	AT rdgsbase, rdgsbase %rax
	AT wrfsbase
	wrfsbase %rax
	rdfsbase %rcx
	jmp done
	AT read_fs, mov %fs:0, %rax
	AT read_gs, mov %gs:0, %rax
	AT lar, lar %eax, %ecx
	AT lsl, lsl %eax, %ecx
	AT verr, verr %ax
	AT store_ds, mov %ds, %eax
	AT store_ss, mov %ss, %eax
	AT clflush, clflush (%rbx)
	AT prefetch, prefetcht0 (%rbx)
	AT lfence, lfence
	AT cmpxchg16b, cmpxchg16b (%rbx)
	AT popf
	push %rax
	popf
	nop
	pushf
	pop %rax
	jmp done

	AT vzero, vpxor %ymm0, %ymm0, %ymm0
	AT zmm, vpxorq %zmm0, %zmm0, %zmm0

/*
 * Extended state: loads what RBX has (mask RDX:RAX), stores to RCX.  On pages of their own, two to a page: where XCR0 is not
 * narrowed by a processor, they are what has to be watched.
 */
	.balign PAGE, 0			/* which image.h leaves out */
	AT xrstor, xrstor64 (%rbx)
	AT xsave, xsave64 (%rbx)
	.balign PAGE, 0
	AT xstate_fault
	xrstor64 (%rbx)
	ud2
	jmp done
	AT xgetbv, xgetbv
	.data
registers:
	.fill 17, 8, 0
	.section .note.GNU-stack, "", @progbits
