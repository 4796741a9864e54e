/*
 * EENTER, ERESUME, EEXIT and EDECCSSA in the program's own process: what `native/in_process.py` describes.  Every vDSO
 * image has this.
 *
 * A thread's slot of enclave mode (`sgx/enclave_mode.py`) is found by the limit of a segment that is its own: LSL is the
 * only instruction that tells a thread apart, needs no register but one, and changes no flag but ZF.  A TCS whose
 * entry has been checked has a ticket (`native/tickets.py`).
 *
 * Nothing here uses the stack, and the flags are kept.  A thread may be stopped at any instruction: the table .undo has,
 * from each U on, the rule by which `native/trampoline.py` takes it back before the ENCLU, or on behind it.  So every
 * way to the supervisor is an ENCLU in place, at which the rule holds.
 */

#include "in_process_state.h"

.macro ENCLU
	.byte	0x0f, 0x01, 0xd7
.endm

/* `leaf` is the leaf being executed, once that is known. */
.macro U rule, leaf=0
	.pushsection .undo, "", @progbits
	.quad	777f, \rule | \leaf << 8
	.popsection
777:
.endm

/* One way of FIND_SLOT, for one value of ZF, by the rules that hold; the flags are in AX then, but for ZF. */
.macro LOOK_UP found, kept, fails, leaf
	mov	$SELECTOR, %ecx
	lsl	%ecx, %ecx
	U	\found, \leaf
	jnz	\fails
	SCALE
	mov	%rax, S_RCX(%rcx)
	lahf
	U	\kept, \leaf
	seto	%al
.endm

/* RCX: 0, RAX: the program's RCX.  Afterwards RCX: the slot; RAX and the flags are free. */
.macro FIND_SLOT leaf
	jz	1f
	LOOK_UP	FOUND_NZ, KEPT_NZ, 3f, \leaf
	and	$0xbf, %ah
	U	KEPT_AX, \leaf
	jmp	2f
	U	FOUND, \leaf
1:	LOOK_UP	FOUND_Z, KEPT_Z, 4f, \leaf
	U	KEPT_AX, \leaf
2:	mov	%ax, S_FLAGS(%rcx)
	U	KEPT, \leaf
	jmp	5f
	U	FOUND_NZ, \leaf
3:	ENCLU
	U	FOUND_Z, \leaf
4:	ENCLU
	U	KEPT, \leaf
5:
.endm

/* RCX, the limit in bytes: times 2^15, for slots are above all enclaves; flags are not to change. */
.macro SCALE
	.rept	5
	lea	(, %rcx, 8), %rcx
	.endr
.endm

/* Where an ENCLU was: goes on at `is_first` or `is_second`, with RCX as FIND_SLOT wants it, if RAX is that leaf. */
.macro WHICH_LEAF first, second, is_first, is_second
	U	AT_ENCLU
	xchg	%rax, %rcx
	U	SWAPPED
	lea	-\first(%rcx), %rcx
	U	SWAPPED_LESS, \first
	jrcxz	\is_first
	lea	(\first - \second)(%rcx), %rcx
	U	SWAPPED_LESS, \second
	jrcxz	\is_second
	lea	\second(%rcx), %rcx
	U	SWAPPED
	xchg	%rax, %rcx
	U	AT_ENCLU
.endm

/* From a copy, with RCX the slot, to where the leaf is executed: the word `at` bytes behind the first, which is the ENCLU. */
.macro TO_LEAF leaf, words, at
	mov	\words(%rip), %rax
	mov	%rax, S_SITE(%rcx)
	U	SITED, \leaf
	jmp	*\words + \at(%rip)
.endm

/* RCX: the slot; RAX is free afterwards. */
.macro RESTORE_FLAGS
	movzwl	S_FLAGS(%rcx), %eax
	add	$0x7f, %al		/* OF */
	sahf
.endm

.macro KEEP_ARGUMENTS leaf
	U	SITED, \leaf
	mov	%rdx, S_RDX(%rcx)
	mov	%rsi, S_RSI(%rcx)
	mov	%rdi, S_RDI(%rcx)
	U	CLAIMING, \leaf
.endm

.macro RESTORE_ARGUMENTS
	mov	S_RDX(%rcx), %rdx
	mov	S_RSI(%rcx), %rsi
	mov	S_RDI(%rcx), %rdi
.endm

/*
 * RCX: the slot.  What the counter will be, and a record, if somebody wants to be told of leaves and there is room for one:
 * both count once the leaf has been executed.  Where there is no room, the leaf is to stop the thread, or counts only.
 * RAX, RDX and RSI are free.
 */
.macro PREPARE_TO_TELL leaf, counter, slow
	mov	\counter(%rcx), %rax
	inc	%rax
	mov	%rax, S_COUNT(%rcx)
	mov	S_RING(%rcx), %rsi
	test	%rsi, %rsi
	jz	7f
	cmp	S_RING_END(%rcx), %rsi
	jb	6f
	cmpq	$0, S_LOSSY(%rcx)
	je	\slow
	jmp	7f
6:	rdtsc
	shl	$32, %rdx
	or	%rdx, %rax
	mov	%rax, R_TSC(%rsi)
	mov	S_EID(%rcx), %rax
	shl	$32, %rax
	or	$\leaf, %rax
	mov	%rax, R_LEAF(%rsi)
	mov	S_TCS(%rcx), %rdx
	mov	TCS_CSSA(%rdx), %eax
	or	S_TCS_LA(%rcx), %rax
	mov	%rax, R_TCS(%rsi)
	mov	S_RDI(%rcx), %rax
	mov	%rax, R_RDI(%rsi)
	mov	S_RSI(%rcx), %rax
	mov	%rax, R_RSI(%rsi)
	mov	%rbx, R_RBX(%rsi)
	mov	S_RCX(%rcx), %rax
	mov	%rax, R_RCX(%rsi)
	mov	%rsp, R_RSP(%rsi)
	lea	R_SIZE(%rsi), %rsi
7:	mov	%rsi, S_RING_NEXT(%rcx)
.endm

/* May be done twice.  RAX is free. */
.macro TELL counter
	mov	S_COUNT(%rcx), %rax
	mov	%rax, \counter(%rcx)
	mov	S_RING_NEXT(%rcx), %rax
	mov	%rax, S_RING(%rcx)
.endm

/* RAX: a TCS.  Afterwards RAX: where its ticket is, if it has one; RDX is free. */
.macro FIND_TICKET
	shr	$12, %rax
	imul	$(TICKET_HASH - 0x100000000), %eax, %eax
	shr	$(32 - TICKET_BITS), %eax
	shl	$TICKET_SHIFT, %eax
	movabs	$TICKETS, %rdx
	add	%rdx, %rax
.endm

/* RAX: the ticket, RCX: the slot; RDX is free. */
#define FROM_TICKET(word) \
	mov T_##word(%rax), %rdx; mov %rdx, S_##word(%rcx)

/* RAX: GPRSGX, RCX: the slot; RSI is free. */
#define CANONICAL_OF_FRAME(word) \
	mov GPRSGX_##word(%rax), %rsi; mov %rsi, S_##word(%rcx); shr $NOT_CANONICAL, %rsi; jnz enclu_eresume_slow

/*
 * RBX: the TCS, RCX: the slot, where the AEP is.  Afterwards the TCS is this processor's, RDI its ticket, RDX the TCS,
 * RSI the number of the SSA frame in question and RAX the address of its GPRSGX.
 */
.macro CLAIM leaf, slow
	KEEP_ARGUMENTS \leaf
	cmpq	$0, S_TCS_LA(%rcx)
	jne	\slow
	mov	%rbx, %rax
	FIND_TICKET
	cmp	%rbx, T_KEY(%rax)
	jne	\slow
	mov	S_RCX(%rcx), %rdx	/* the AEP */
	shr	$NOT_CANONICAL, %rdx
	jnz	\slow
	mov	%rax, S_TICKET(%rcx)
	FROM_TICKET(EID)
	FROM_TICKET(BASE)
	FROM_TICKET(SIZE)
	FROM_TICKET(EPOCH)
	FROM_TICKET(TF)
	FROM_TICKET(NARROW)
	FROM_TICKET(TCS)
	mov	%rbx, S_TCS_LA(%rcx)
	mov	%rax, %rdi
	xor	%eax, %eax
	lock cmpxchg %rcx, TCS_STATE(%rdx)	/* this processor's, if it was free; and a barrier */
	jne	\slow
	cmp	%rbx, T_KEY(%rdi)		/* revoked meanwhile? */
	jne	\slow
	cmp	%rcx, TCS_STATE(%rdx)		/* or claimed at a stop, which overwrites? */
	jne	\slow
	mov	T_EPOCH(%rdi), %rax		/* or has a new epoch begun? */
	mov	%rax, S_EPOCH(%rcx)
	mov	TCS_CSSA(%rdx), %esi
	.if	\leaf == ERESUME_LEAF
	dec	%esi
	.endif
	cmp	T_FRAMES(%rdi), %rsi
	jae	\slow
	mov	T_FRAME_SIZE(%rdi), %rax
	imul	%rsi, %rax
	add	T_GPRSGX(%rdi), %rax
	mov	%rax, S_GPRSGX(%rcx)
.endm

/* RCX: the slot, RDX: the TCS; RAX is free. */
.macro KEEP_OUTSIDE
	mov	S_RCX(%rcx), %rax
	mov	%rax, TCS_AEP(%rdx)
	rdfsbase %rax
	mov	%rax, S_FS(%rcx)
	rdgsbase %rax
	mov	%rax, S_GS(%rcx)
.endm

/*
 * Of what the enclave has not in XFRM, what is in use is put aside and becomes initial: by instructions where it is of AVX
 * and AVX-512, for an XRSTOR of initial state takes some processors as long as the leaf.  What XFRM has of AVX stays, and
 * with it the lower halves of ZMM0 to ZMM15.  RAX, RDX, RSI and RDI are free.
 */
.macro PUT_ASIDE
	mov	S_NARROW(%rcx), %edi
	test	%edi, %edi
	jz	1f
	mov	%rcx, %rsi
	mov	$1, %ecx
	xgetbv
	mov	%rsi, %rcx
	and	%edi, %eax
	jz	1f
	mov	%eax, %esi
	xor	%edx, %edx
	movq	$0, S_XSAVE + XSAVE_HEADER(%rcx)
	xsave64	S_XSAVE(%rcx)
	mov	%rsi, S_ASIDE(%rcx)
	test	$~(XSAVE_AVX | XSAVE_AVX512), %esi
	jnz	4f
	test	$XSAVE_AVX, %edi
	jz	2f
	vzeroupper
	jmp	3f
2:	test	$XSAVE_ZMM_HI256, %esi
	jnz	4f
3:	test	$XSAVE_AVX512 & ~XSAVE_ZMM_HI256, %esi
	jz	1f
	.irp	number, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
	vpxorq	%zmm\number, %zmm\number, %zmm\number
	.endr
	.irp	number, 0, 1, 2, 3, 4, 5, 6, 7
	kxorw	%k\number, %k\number, %k\number
	.endr
	jmp	1f
4:	stmxcsr	S_INITIAL + XSAVE_MXCSR(%rcx)
	mov	%esi, %eax
	xor	%edx, %edx
	xrstor64 S_INITIAL(%rcx)
1:
.endm

/* What was put aside.  RAX and RDX are free. */
.macro GIVE_BACK
	cmpl	$0, S_ASIDE(%rcx)
	je	1f
	stmxcsr	S_XSAVE + XSAVE_MXCSR(%rcx)	/* which XRSTOR loads where it has AVX, and which is the enclave's */
	mov	S_NARROW(%rcx), %eax
	xor	%edx, %edx
	xrstor64 S_XSAVE(%rcx)
1:
.endm

/* Bases of the program's, and the TCS is free.  RAX and RDX are, too. */
.macro OUTSIDE_AGAIN
	mov	S_FS(%rcx), %rax
	wrfsbase %rax
	mov	S_GS(%rcx), %rax
	wrgsbase %rax
	mov	S_TCS(%rcx), %rdx
	movq	$0, TCS_STATE(%rdx)
	movq	$0, S_TCS_LA(%rcx)
.endm

	.section .in_process, "ax", @progbits
enclu_in_process_start:

enclu_eenter:
	CLAIM	EENTER_LEAF, enclu_eenter_slow
	mov	%rsp, GPRSGX_URSP(%rax)
	mov	%rbp, GPRSGX_URBP(%rax)
	KEEP_OUTSIDE
	cmp	$1, %esi
	adcq	$0, S_ONWARD(%rcx)		/* one that does not take place after all is done anew, with somebody to tell */
	shl	$4, %esi
	lea	T_STUBS(%rdi, %rsi), %rsi
	mov	%rsi, S_STUB(%rcx)
	PREPARE_TO_TELL EENTER_LEAF, S_EENTERS, enclu_eenter_slow
	PUT_ASIDE
	movb	$1, S_MODE(%rcx)		/* it is in the enclave */
	U	ENTERED, EENTER_LEAF
	TELL	S_EENTERS
	mov	S_TICKET(%rcx), %rax
	mov	T_FS(%rax), %rdx
	wrfsbase %rdx
	mov	T_GS(%rax), %rdx
	wrgsbase %rdx
	RESTORE_ARGUMENTS
	RESTORE_FLAGS
	mov	S_STUB(%rcx), %rax
	mov	S_SITE(%rcx), %rcx
	lea	3(%rcx), %rcx
enclu_eenter_last:
	jmp	*%rax				/* to the ticket, which has the last two instructions */
	U	CLAIMING, EENTER_LEAF
enclu_eenter_slow:
	ENCLU

enclu_eresume:
	CLAIM	ERESUME_LEAF, enclu_eresume_slow
	mov	%rsi, S_CSSA(%rcx)
	testb	$1, GPRSGX_AEXNOTIFY(%rax)	/* it may be an entry instead */
	jnz	enclu_eresume_slow
	CANONICAL_OF_FRAME(RIP)
	CANONICAL_OF_FRAME(FSBASE)
	CANONICAL_OF_FRAME(GSBASE)
	mov	GPRSGX_RSP(%rax), %rsi
	mov	%rsi, S_RSP(%rcx)
	mov	GPRSGX_RFLAGS(%rax), %rsi
	and	$RFLAGS_RESTORED, %esi
	or	$RFLAGS_FIXED, %esi
	mov	%rsi, S_RFLAGS(%rcx)
	add	$GPRSGX_SIZE, %rax
	sub	T_FRAME_SIZE(%rdi), %rax
	mov	%rax, S_NEXT(%rcx)		/* the frame: its XSAVE region */
	mov	T_XFRM(%rdi), %rsi
	not	%rsi
	test	%rsi, XSAVE_HEADER(%rax)
	jnz	enclu_eresume_slow
	mov	XSAVE_HEADER + 8(%rax), %rsi
	or	XSAVE_HEADER + 16(%rax), %rsi
	jnz	enclu_eresume_slow
	testl	$0xffff0000, XSAVE_MXCSR(%rax)
	jnz	enclu_eresume_slow
	KEEP_OUTSIDE
	PREPARE_TO_TELL ERESUME_LEAF, S_ERESUMES, enclu_eresume_slow
	PUT_ASIDE
	movb	$1, S_MODE(%rcx)		/* it is in the enclave */
	U	RESUMING, ERESUME_LEAF
	mov	S_TICKET(%rcx), %rdi
	mov	T_XFRM(%rdi), %eax
	xor	%edx, %edx
	mov	S_NEXT(%rcx), %rdi
	xrstor64 (%rdi)
	U	RESUMED, ERESUME_LEAF
	mov	S_TCS(%rcx), %rdx
	mov	S_CSSA(%rcx), %eax
	mov	%eax, TCS_CSSA(%rdx)
	incq	S_ONWARD(%rcx)
	TELL	S_ERESUMES
	lea	S_AEP + 8(%rcx), %rsp
	pushq	$RFLAGS_FIXED			/* IRET faults where NT is set */
	popfq
	mov	S_FSBASE(%rcx), %rdx
	wrfsbase %rdx
	mov	S_GSBASE(%rcx), %rdx
	wrgsbase %rdx
	mov	S_GPRSGX(%rcx), %rax
	mov	GPRSGX_RDX(%rax), %rdx
	mov	GPRSGX_RBX(%rax), %rbx
	mov	GPRSGX_RBP(%rax), %rbp
	mov	GPRSGX_RSI(%rax), %rsi
	mov	GPRSGX_RDI(%rax), %rdi
	mov	GPRSGX_R8(%rax), %r8
	mov	GPRSGX_R9(%rax), %r9
	mov	GPRSGX_R10(%rax), %r10
	mov	GPRSGX_R11(%rax), %r11
	mov	GPRSGX_R12(%rax), %r12
	mov	GPRSGX_R13(%rax), %r13
	mov	GPRSGX_R14(%rax), %r14
	mov	GPRSGX_R15(%rax), %r15
	lea	S_RIP(%rcx), %rsp
	mov	GPRSGX_RCX(%rax), %rcx
	mov	GPRSGX_RAX(%rax), %rax
	iretq
	U	CLAIMING, ERESUME_LEAF
enclu_eresume_slow:
	ENCLU

enclu_eexit:
	KEEP_ARGUMENTS EEXIT_LEAF
	cmpb	$1, S_MODE(%rcx)
	jne	enclu_eexit_slow
	testb	$1, S_TF(%rcx)
	jnz	enclu_eexit_slow
	mov	%rbx, %rax
	shr	$NOT_CANONICAL, %rax
	jnz	enclu_eexit_slow
	mov	S_TCS(%rcx), %rdx
	test	%rdx, %rdx			/* it was entered at a TCS that is nowhere to be seen from here */
	jz	enclu_eexit_slow
	mov	TCS_AEP(%rdx), %rax
	mov	%rax, S_AEP(%rcx)
	PREPARE_TO_TELL EEXIT_LEAF, S_EEXITS, enclu_eexit_slow
	movb	$0, S_MODE(%rcx)		/* it has left */
	U	LEFT, EEXIT_LEAF
	TELL	S_EEXITS
	GIVE_BACK
	movl	$0, S_ASIDE(%rcx)
	OUTSIDE_AGAIN
	RESTORE_ARGUMENTS
	RESTORE_FLAGS
	mov	$EEXIT_LEAF, %eax
	mov	S_AEP(%rcx), %rcx
	jmp	*%rbx
	U	CLAIMING, EEXIT_LEAF
enclu_eexit_slow:
	ENCLU

enclu_edeccssa:
	KEEP_ARGUMENTS EDECCSSA_LEAF
	cmpb	$1, S_MODE(%rcx)
	jne	enclu_edeccssa_slow
	cmpq	$0, S_TCS(%rcx)
	je	enclu_edeccssa_slow
	mov	S_TCS_LA(%rcx), %rsi
	mov	%rsi, %rax
	FIND_TICKET
	cmp	%rsi, T_KEY(%rax)
	jne	enclu_edeccssa_slow
	mov	%rax, %rdi
	mov	S_TCS(%rcx), %rdx
	mov	TCS_CSSA(%rdx), %esi
	dec	%esi
	cmp	T_FRAMES(%rdi), %rsi
	jae	enclu_edeccssa_slow
	mov	T_FRAME_SIZE(%rdi), %rax
	imul	%rsi, %rax
	add	T_GPRSGX(%rdi), %rax
	lock orq $0, GPRSGX_URSP(%rax)		/* it can be written */
	mov	%rax, S_NEXT(%rcx)
	mov	%esi, %edi
	PREPARE_TO_TELL EDECCSSA_LEAF, S_EDECCSSAS, enclu_edeccssa_slow
	mov	S_TCS(%rcx), %rdx
	mov	%edi, TCS_CSSA(%rdx)		/* it is done */
	U	DECREASED, EDECCSSA_LEAF
	TELL	S_EDECCSSAS
	mov	S_NEXT(%rcx), %rax
	mov	%rax, S_GPRSGX(%rcx)
	RESTORE_ARGUMENTS
	RESTORE_FLAGS
	jmp	*S_STUB(%rcx)			/* back to the copy, which knows where to go on */
	U	CLAIMING, EDECCSSA_LEAF
enclu_edeccssa_slow:
	ENCLU

/* RCX: the slot, RAX: GPRSGX; RDX is free. */
#define FROM_FRAME(word) \
	mov F_##word(%rsp), %rdx; mov %rdx, GPRSGX_##word(%rax)
#define FROM_REGISTER(word, register) \
	mov %register, GPRSGX_##word(%rax)

/*
 * An AEX and the fixup, for an exception that the supervisor has looked at (native/own_aex.py): a signal handler, on a
 * stack in the slot.  The registers and the error code are in the signal frame, what is to become of them in the slot.
 */
	U	FAULTED
enclu_aex:
	mov	$SELECTOR, %ecx
	lsl	%ecx, %ecx
	jnz	enclu_aex_slow
	SCALE
	cmpq	$0, S_FIXUP(%rcx)
	je	enclu_aex_slow
	cmpl	$0, F_SS_FLAGS(%rsp)		/* SS_AUTODISARM: the kernel has taken the alternate stack away */
	jl	enclu_aex_slow
	mov	F_ERR(%rsp), %rdi
	mov	S_CODES(%rcx), %rsi
	test	$CODE_I, %edi
	jz	1f
	shr	$32, %rsi
	jmp	2f
1:	test	$CODE_W, %edi
	jz	2f
	shr	$16, %rsi
2:	movzwl	%si, %esi
	test	$CODE_UNKNOWN, %esi
	jnz	enclu_aex_slow
	test	$CODE_OF_FRAME, %esi
	jz	3f
	or	%edi, %esi
	and	$CODE_MASK, %esi
3:	mov	%rsi, S_RSI(%rcx)
	mov	S_GPRSGX(%rcx), %rax
	FROM_FRAME(RAX)
	FROM_FRAME(RCX)
	FROM_FRAME(RDX)
	FROM_FRAME(RSI)
	FROM_FRAME(RDI)
	FROM_FRAME(RIP)
	mov	S_FAULT_RSP(%rcx), %rdx
	FROM_REGISTER(RSP, rdx)
	FROM_REGISTER(RBX, rbx)
	FROM_REGISTER(RBP, rbp)
	FROM_REGISTER(R8, r8)
	FROM_REGISTER(R9, r9)
	FROM_REGISTER(R10, r10)
	FROM_REGISTER(R11, r11)
	FROM_REGISTER(R12, r12)
	FROM_REGISTER(R13, r13)
	FROM_REGISTER(R14, r14)
	FROM_REGISTER(R15, r15)
	mov	F_RFLAGS(%rsp), %rdx
	and	$~RFLAGS_TF, %rdx
	or	$RFLAGS_RF, %rdx
	FROM_REGISTER(RFLAGS, rdx)
	and	$~RFLAGS_CLEARED, %rdx
	mov	%rdx, S_RFLAGS(%rcx)
	rdfsbase %rdx
	FROM_REGISTER(FSBASE, rdx)
	rdgsbase %rdx
	FROM_REGISTER(GSBASE, rdx)
	mov	S_EXITINFO(%rcx), %rdx
	mov	%edx, GPRSGX_EXITINFO(%rax)
	shr	$32, %rdx
	jz	4f
	mov	S_ADDRESS(%rcx), %rdx
	mov	%rdx, EXINFO_MADDR(%rax)
	mov	%rsi, EXINFO_ERRCD(%rax)
4:	mov	F_FPSTATE(%rsp), %rdi
	mov	F_XFEATURES(%rdi), %eax
	mov	F_XFEATURES + 4(%rdi), %edx
	xrstor64 (%rdi)
	mov	S_NEXT(%rcx), %rdi		/* the SSA frame */
	mov	S_XFRM(%rcx), %eax
	xor	%edx, %edx
	xsave64	(%rdi)
	mov	%rdx, XSAVE_HEADER + 8(%rdi)
	mov	%rdx, XSAVE_HEADER + 16(%rdi)
	movl	$SYNTHETIC_MXCSR, S_INITIAL + XSAVE_MXCSR(%rcx)
	xrstor64 S_INITIAL(%rcx)
	GIVE_BACK
	mov	S_TCS_LA(%rcx), %rbx
	mov	%rbx, S_RCX(%rcx)
	mov	S_TCS(%rcx), %rdx
	mov	TCS_AEP(%rdx), %rax
	mov	%rax, S_AEP(%rcx)
	mov	S_GPRSGX(%rcx), %rax
	mov	GPRSGX_URSP(%rax), %rdx
	mov	%rdx, S_RSP(%rcx)
	mov	GPRSGX_URBP(%rax), %rdx
	mov	%rdx, S_NEXT(%rcx)
	mov	S_FIXUP(%rcx), %rdx
	mov	%rdx, S_RIP(%rcx)
	movb	$0, S_MODE(%rcx)		/* it has left */
	U	AEX_DONE
	movq	$0, S_FIXUP(%rcx)
	mov	S_TCS(%rcx), %rdx
	mov	S_CSSA(%rcx), %eax
	mov	%eax, TCS_CSSA(%rdx)
	movl	$0, S_ASIDE(%rcx)
	OUTSIDE_AGAIN
	lea	S_FLAGS + 8(%rcx), %rsp
	pushq	$RFLAGS_FIXED			/* IRET faults where NT is set */
	popfq
	mov	S_VECTOR(%rcx), %rdi
	mov	S_RSI(%rcx), %rsi
	mov	%rsi, S_CODES(%rcx)
	mov	S_ADDRESS(%rcx), %rdx
	and	$-4096, %rdx
	xor	%r8d, %r8d
	xor	%r9d, %r9d
	xor	%r10d, %r10d
	xor	%r11d, %r11d
	xor	%r12d, %r12d
	xor	%r13d, %r13d
	xor	%r14d, %r14d
	xor	%r15d, %r15d
	mov	S_NEXT(%rcx), %rbp
	mov	$ERESUME_LEAF, %eax
	lea	S_RIP(%rcx), %rsp
	mov	S_AEP(%rcx), %rcx
	iretq
	U	FAULTED
enclu_aex_slow:
	ud2
	U	OUT
enclu_in_process_end:

/*
 * Where an AEX goes on for which the kernel has supplied a page (native/own_aex.py): at `show` the thread makes the page
 * accessible, RDX, and so many bytes behind it as RDI says, with the protection in RDI's last byte; from `onward` on
 * it is as an AEX leaves it, but for RDI, RSI and RDX.  No flag changes.
 */
.macro ONWARD_BY show, onward, target
	U	SHOWING
\show:
	mov	%rcx, %r8
	mov	%rdi, %rsi
	mov	$0, %sil
	xchg	%rdx, %rdi
	movzbl	%dl, %edx
	mov	$10, %eax		/* __NR_mprotect */
	syscall
	xchg	%rax, %rcx
	jrcxz	1f
	ud2
1:	mov	%r8, %rcx
	mov	$ERESUME_LEAF, %eax
	mov	$0, %r8d
	mov	$0, %r11d
\onward:
	mov	$0, %edi
	mov	$0, %esi
	mov	$0, %edx
	jmp	\target
	U	OUT
.endm

	.text
	.balign	16
	ONWARD_BY enclu_show, enclu_onward, *%rcx
	.section .in_process

/*
 * What an ENCLU that was changed jumps to: copied to where it can be reached, with the words at its end filled in: the
 * ENCLU's address, that of the next instruction, and where the two leaves are executed.  The vDSO's function jumps to
 * the first template itself.
 */
	.balign	64
enclu_enter_template:
	WHICH_LEAF EENTER_LEAF, ERESUME_LEAF, 1f, 2f
	ENCLU
	U	FOUND, ERESUME_LEAF
2:	jmp	9f
	U	FOUND, EENTER_LEAF
1:	FIND_SLOT EENTER_LEAF
	TO_LEAF	EENTER_LEAF, enclu_enter_words, 16
	U	FOUND, ERESUME_LEAF
9:	FIND_SLOT ERESUME_LEAF
	TO_LEAF	ERESUME_LEAF, enclu_enter_words, 24
	U	OUT
	.balign	8
enclu_enter_words:
	.quad	0, 0, 0, 0
enclu_enter_template_end:

	.balign	64
enclu_exit_template:
	WHICH_LEAF EEXIT_LEAF, EDECCSSA_LEAF, 1f, 2f
	ENCLU
	U	FOUND, EDECCSSA_LEAF
2:	jmp	9f
	U	FOUND, EEXIT_LEAF
1:	FIND_SLOT EEXIT_LEAF
	TO_LEAF	EEXIT_LEAF, enclu_exit_words, 16
	U	FOUND, EDECCSSA_LEAF
9:	FIND_SLOT EDECCSSA_LEAF
	lea	8f(%rip), %rax
	mov	%rax, S_STUB(%rcx)
	TO_LEAF	EDECCSSA_LEAF, enclu_exit_words, 24
	U	DECREASED, EDECCSSA_LEAF
8:	mov	$EDECCSSA_LEAF, %eax
	mov	S_RCX(%rcx), %rcx
	jmp	*enclu_exit_words + 8(%rip)
	U	OUT
	.balign	8
enclu_exit_words:
	.quad	0, 0, 0, 0
enclu_exit_template_end:

/*
 * For a vDSO function: in front of its ENCLU, which stays, what jumps to the template once the process uses SGX; and the
 * way to it where that ENCLU is the AEP.
 */
.macro IN_PROCESS_JUMP
	.subsection 1
	ONWARD_BY enclu_show_by_jump, enclu_onward_by_jump, enclu_jump
	.previous
enclu_jump:
	.byte	0x0f, 0x1f, 0x44, 0, 0	/* NOP, as long as the jump */
.endm

	.text
