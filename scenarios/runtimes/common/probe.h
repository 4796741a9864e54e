/*
 * BEFORE and AFTER stand around what a design offers for entering.  They do nothing, but in the instance that records
 * registers: BEFORE fills those that are named, and extended state and status flags, and records all; AFTER records.
 */
#ifndef PROBE
	.macro BEFORE free:vararg
	.endm
	.macro AFTER
	.endm
#else

/* struct sgx_registers */
	.set YMM_HIGH, 512
	.set GPR, 768
	.set RFLAGS, 896

	.macro RECORD place
	.set index, 0
	.irp register, rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15
	mov %\register, \place + GPR + index(%rip)
	.set index, index + 8
	.endr
	pushfq
	popq \place + RFLAGS(%rip)
	fxsave64 \place(%rip)
	cmpb $0, probe_avx(%rip)
	je 9f
	.irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	vextractf128 $1, %ymm\n, \place + YMM_HIGH + 16 * \n(%rip)
	.endr
9:	pushq \place + RFLAGS(%rip)
	popfq
	.endm

	.macro BEFORE free:vararg
	fxrstor64 probe_filled(%rip)
	cmpb $0, probe_avx(%rip)
	je 8f
	.irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	vinsertf128 $1, probe_filled + YMM_HIGH + 16 * \n(%rip), %ymm\n, %ymm\n
	.endr
8:
	.set index, 0
	.irp register, \free
	movabs $0x5ca1ab1e0000 + index, %\register
	.set index, index + 1
	.endr
	pushq $0x8d7	/* CF, PF, AF, ZF, SF and OF */
	popfq
	RECORD probe_before
	.endm

	.macro AFTER
	RECORD probe_after
	.endm
#endif
