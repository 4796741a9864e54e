/* Entry and exit of the test enclave, its TCSes, SSA frames and stacks. */

	.macro ENCLU
	.byte 0x0f, 0x01, 0xd7
	.endm

	.macro LEAVE at
	xor %ecx, %ecx
	xor %edx, %edx
	xor %esi, %esi
	xor %edi, %edi
	xor %r8d, %r8d
	xor %r9d, %r9d
	xor %r10d, %r10d
	xor %r11d, %r11d
	.balign 8
	.rept \at - 5
	nop
	.endr
	mov $4, %eax
	ENCLU
	.endm

	.set TCSES, 4
	.set FRAMES, 3

	.macro TCS index
	.quad 0, 0                              /* STATE, FLAGS */
	.quad encl_ssa + \index * FRAMES * 4096 /* OSSA */
	.long 0, FRAMES                         /* CSSA, NSSA */
	.quad encl_entry                        /* OENTRY */
	.quad 0, 0, 0                           /* AEP, OFSBASE, OGSBASE */
	.long 0xffffffff, 0xffffffff            /* FSLIMIT, GSLIMIT */
	.fill 4024, 1, 0
	.endm

	.section .tcs, "aw"
	.balign 4096
	TCS 0
	TCS 1
	TCS 2
	TCS 3

	.text
/*
 * EENTER: RAX = CSSA, RBX = TCS, RCX = where to EEXIT to, RDI = the request.
 * Each (TCS, CSSA) has a stack page of its own, so that a handler does not overwrite the interrupted frames.
 */
	.globl encl_entry
encl_entry:
	lea encl_base(%rip), %r10
	mov %rbx, %r11
	sub %r10, %r11
	shr $12, %r11
	lea (%r11, %r11, 2), %r11               /* index * FRAMES */
	lea 1(%r11, %rax), %r11
	shl $12, %r11
	lea encl_stacks(%rip), %r9
	add %r11, %r9
	test %rdi, %rdi
	jz notified                             /* as the registers are at the AEP */
enter_body:
	xchg %rsp, %r9
	push %r9
	push %rcx
	cld
	mov %rax, %rsi
	mov %rbx, %rdx
	call encl_body
	bt $12, %rsp
	pop %rbx
	pop %rsp
	jc 1f
	LEAVE 5
1:	LEAVE 6                                 /* an ENCLU in two words of memory */

/*
 * ERESUME has entered instead, for the frame below has AEXNOTIFY.  What was interrupted goes on from here, as AEX-Notify is
 * meant: with its extended state loaded, its registers copied and RAX, RFLAGS and RIP beneath its stack's red zone, the
 * frame is given up (EDECCSSA), and AEXNOTIFY set again as the last of all that an AEX might disturb.
 */
	.set GPRSGX, 4096 - 184
	.set AEXNOTIFY, GPRSGX + 167
	.set RSP_KEPT, 2048                     /* of a frame, whose XSAVE region is smaller */
notified:
	mov %r9, %rsp
	lea encl_ssa - 2 * 4096(%rip), %rsi
	add %r11, %rsi                          /* the frame below */
	lock incq encl_notifications(%rip)
	movb $0, AEXNOTIFY(%rsi)
	fxrstor64 (%rsi)                        /* as XRSTOR, which would have to be watched for, where XFRM is 3 */
	mov GPRSGX + 32(%rsi), %r8
	lea -128 - 24(%r8), %r8
	mov GPRSGX + 0(%rsi), %rax
	mov %rax, 0(%r8)
	mov GPRSGX + 128(%rsi), %rax
	mov %rax, 8(%r8)
	mov GPRSGX + 136(%rsi), %rax
	mov %rax, 16(%r8)
	.irp at, 120, 112, 104, 96, 88, 80, 72, 64, 56, 48, 40, 24, 16, 8
	pushq GPRSGX + \at(%rsi)
	.endr
	push %r8                                /* RSP */
	push %rsi
	mov $9, %eax
	ENCLU
	pop %rax
	pop %r8
	mov %r8, RSP_KEPT(%rax)
	.irp register, %rcx, %rdx, %rbx, %rbp, %rsi, %rdi, %r8, %r9, %r10, %r11, %r12, %r13, %r14, %r15
	pop \register
	.endr
	mov RSP_KEPT(%rax), %rsp
	movb $1, AEXNOTIFY(%rax)
	pop %rax
	popf
	ret $128

/* A TCS made at run time: its stack is the page below it. */
	.globl encl_dynamic_entry
encl_dynamic_entry:
	mov %rbx, %r9
	jmp enter_body

/* void encl_state(const struct state *in RDI, u32 *flag RSI, struct state *out RDX, u32 avx ECX) */
	.globl encl_state
encl_state:
	push %rbx
	push %rbp
	push %r12
	push %r13
	push %r14
	push %r15
	push %rcx
	push %rdx
	fninit
	fldl 640(%rdi)
	test %ecx, %ecx
	jnz 1f
	.irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	movdqu 128 + 32 * \n(%rdi), %xmm\n
	.endr
	jmp 2f
1:
	.irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	vmovdqu 128 + 32 * \n(%rdi), %ymm\n
	.endr
2:
	mov 0(%rdi), %rax
	mov 8(%rdi), %rcx
	mov 16(%rdi), %rdx
	mov 24(%rdi), %rbx
	mov 40(%rdi), %rbp
	mov 64(%rdi), %r8
	mov 72(%rdi), %r9
	mov 80(%rdi), %r10
	mov 88(%rdi), %r11
	mov 96(%rdi), %r12
	mov 104(%rdi), %r13
	mov 112(%rdi), %r14
	mov 120(%rdi), %r15
	mov 56(%rdi), %rdi
	test %rsi, %rsi
	jz 4f
3:	cmpl $0, (%rsi)
	je 3b
	jmp 5f
4:	ud2
5:	push %rdx
	mov 8(%rsp), %rdx                       /* out */
	mov %rax, 0(%rdx)
	mov %rcx, 8(%rdx)
	pop %rax
	mov %rax, 16(%rdx)
	mov %rbx, 24(%rdx)
	mov %rbp, 40(%rdx)
	mov %rsi, 48(%rdx)
	mov %rdi, 56(%rdx)
	mov %r8, 64(%rdx)
	mov %r9, 72(%rdx)
	mov %r10, 80(%rdx)
	mov %r11, 88(%rdx)
	mov %r12, 96(%rdx)
	mov %r13, 104(%rdx)
	mov %r14, 112(%rdx)
	mov %r15, 120(%rdx)
	fstpl 640(%rdx)
	mov 8(%rsp), %rcx
	test %ecx, %ecx
	jnz 6f
	.irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	movdqu %xmm\n, 128 + 32 * \n(%rdx)
	.endr
	jmp 7f
6:
	.irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	vmovdqu %ymm\n, 128 + 32 * \n(%rdx)
	.endr
	vzeroupper
7:	pxor %xmm0, %xmm0
	pop %rdx
	pop %rcx
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbp
	pop %rbx
	ret

/* A page of its own: while it has been executed, debug registers watch it. */
	.section .xcr0, "ax", @progbits
/* void encl_xstate(const void *in RDI, u32 *flag RSI, void *out RDX, u64 mask RCX) */
	.globl encl_xstate
encl_xstate:
	mov %rdx, %r8
	mov %ecx, %eax
	mov %rcx, %rdx
	shr $32, %rdx
	xrstor64 (%rdi)
1:	cmpl $0, (%rsi)
	je 1b
	xsave64 (%r8)
	ret

/* void encl_xsavec(void *out RDI, u64 mask RSI) */
	.globl encl_xsavec
encl_xsavec:
	mov %esi, %eax
	mov %rsi, %rdx
	shr $32, %rdx
	xsavec64 (%rdi)
	ret

	.text
/* uint64_t encl_call(address RDI, rax RSI, rcx RDX, rdx RCX) */
	.globl encl_call
encl_call:
	push %rbx
	mov %rsi, %rax
	xchg %rdx, %rcx
	call *%rdi
	pop %rbx
	ret

/* enum instruction, 32 bytes each. They may change RAX, RCX, RDX, RBX, RDI and R11. */
	.macro INSN code:vararg
	.balign 32
	\code
	ret
	.endm

	.globl encl_instructions
	.balign 32
encl_instructions:
	INSN in %dx, %al
	INSN out %al, %dx
	INSN insb
	INSN outsb
	INSN int $0x2e
	INSN .byte 0xcd, 3
	INSN int $0x80
	INSN sysenter
	INSN rdpmc
	INSN hlt
	INSN cli
	INSN rdtsc
	INSN cpuid
	INSN syscall
	INSN int3
	INSN .byte 0x66, 0x0f, 0x01, 0xd7
	INSN sgdt (%rax)
	INSN str %eax
	INSN smsw %eax
	.balign 32
	mov %ss, %eax
	mov %eax, %ss
	ret
	.balign 32
	push %fs
	pop %fs
	ret
	INSN .byte 0x48, 0x0f, 0xb2, 0x08
	.balign 32
	mov %cs, %eax
	lea 1f(%rip), %rdi
	push %rax
	push %rdi
	lretq
1:	ret
	.balign 32
	pushf
	orl $0x40000, (%rsp)
	popf
	mov 1(%rsp), %eax
	pushf
	andl $~0x40000, (%rsp)
	popf
	ret
	.balign 32
	pushf
	orl $0x100, (%rsp)
	popf
	nop
	pushf
	pop %rax
	ret
	INSN ldmxcsr (%rax)
	.balign 32
	push %rax
	stmxcsr (%rsp)
	pop %rax
	ret
	INSN vmovdqu %ymm7, (%rax)
	.balign 32
	vmovdqu64 %zmm7, (%rax)
	.irp number, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
	vmovdqu64 %zmm\number, 64 * (\number - 15)(%rax)
	.endr
	.irp number, 0, 1, 2, 3, 4, 5, 6, 7
	kmovw	%k\number, 64 * 17 + 2 * \number(%rax)
	.endr
	ret

	.bss
	.balign 8
	.globl encl_notifications
encl_notifications:                             /* how often ERESUME has entered at notified */
	.skip 8

	.section .ssa, "aw", @progbits
	.balign 4096
	.globl encl_ssa
encl_ssa:
	.fill TCSES * FRAMES * 4096, 1, 0

	.section .stacks, "aw", @progbits
	.balign 4096
encl_stacks:
	.fill TCSES * FRAMES * 4096, 1, 0
	.section .note.GNU-stack, "", @progbits
