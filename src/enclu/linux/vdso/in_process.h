/*
 * EENTER and EEXIT in the program's own process: what `native/in_process.py` describes.  Every vDSO image has this.
 *
 * A thread's slot of enclave mode (`sgx/enclave_mode.py`) is found by the limit of a segment that is its own: LSL is the
 * only instruction that tells a thread apart, needs no register but one, and changes no flag but ZF.  A TCS whose
 * entry has been checked has a ticket (`native/tickets.py`).
 *
 * Nothing here uses the stack, and the flags are kept.  A thread may be stopped at any instruction: the table .undo has,
 * from each U on, the rule by which `native/trampoline.py` takes it back before the ENCLU, or on behind it.  So every
 * way to the supervisor is an ENCLU in place, at which the rule holds.
 */

#define EENTER_LEAF	2
#define EEXIT_LEAF	4

/* native/shared_area.py: the segment, what its limit in bytes lacks to a slot's address, and the tickets. */
#define SELECTOR	0x73
#define SLOT_BIAS	0x7ff8000
#define TICKETS		0x7e2100000000

/* sgx/enclave_mode.py: fields of a slot. */
#define S_TCS_LA	(0 - SLOT_BIAS)
#define S_EID		(8 - SLOT_BIAS)
#define S_BASE		(16 - SLOT_BIAS)
#define S_SIZE		(24 - SLOT_BIAS)
#define S_FS		(32 - SLOT_BIAS)
#define S_GS		(40 - SLOT_BIAS)
#define S_GPRSGX	(48 - SLOT_BIAS)
#define S_TF		(56 - SLOT_BIAS)
#define S_EPOCH		(64 - SLOT_BIAS)
#define S_MODE		(72 - SLOT_BIAS)
#define S_TCS		(80 - SLOT_BIAS)
#define S_ASIDE		(88 - SLOT_BIAS)
#define S_NARROW	(96 - SLOT_BIAS)
#define S_SITE		(104 - SLOT_BIAS)
#define S_FLAGS		(112 - SLOT_BIAS)
#define S_RCX		(120 - SLOT_BIAS)
#define S_RDX		(128 - SLOT_BIAS)
#define S_RSI		(136 - SLOT_BIAS)
#define S_RDI		(144 - SLOT_BIAS)
#define S_TICKET	(152 - SLOT_BIAS)
#define S_STUB		(160 - SLOT_BIAS)
#define S_AEP		(168 - SLOT_BIAS)
#define S_EENTERS	(176 - SLOT_BIAS)
#define S_EEXITS	(184 - SLOT_BIAS)
#define S_INITIAL	(256 - SLOT_BIAS)
#define S_XSAVE		(832 - SLOT_BIAS)

/* native/tickets.py: fields of a ticket. */
#define T_KEY		0
#define T_TCS		8
#define T_GPRSGX	16
#define T_FRAME_SIZE	24
#define T_FRAMES	32
#define T_TF		40
#define T_FS		48
#define T_GS		56
#define T_EID		64
#define T_BASE		72
#define T_SIZE		80
#define T_EPOCH		88
#define T_NARROW	96
#define T_STUBS		128
#define TICKET_SHIFT	8
#define TICKET_HASH	0x9e3779b1
#define TICKET_BITS	10

/* TCS and GPRSGX, SDM 3D sections 35.8 and 35.9. */
#define TCS_STATE	0
#define TCS_CSSA	24
#define TCS_AEP		40
#define GPRSGX_URSP	144
#define GPRSGX_URBP	152

#define XSAVE_MXCSR	24
#define XSAVE_HEADER	512
#define NOT_CANONICAL	47	/* bits below are any; only the lower half is for us */

/* native/trampoline.py: Rule. */
#define AT_ENCLU	0	/* nothing has changed */
#define SWAPPED		1	/* RAX and RCX are swapped */
#define SWAPPED_LESS	2	/* and RCX lacks the leaf's number */
#define FOUND		3	/* RAX: the program's RCX; the leaf is known */
#define FOUND_NZ	4	/* and ZF was 0 */
#define FOUND_Z		5	/* and ZF was 1 */
#define KEPT_NZ		6	/* RCX is in the slot, and ZF was 0 */
#define KEPT_Z		7
#define KEPT_AX		8	/* RCX is in the slot, the flags are in AX */
#define KEPT		9	/* both are in the slot, the site is not */
#define SITED		10	/* the site is, too */
#define CLAIMING	11	/* and RDX, RSI and RDI; a TCS may be claimed, and state be put aside */
#define ENTERED		12	/* in the enclave, not counted */
#define ENTERED_COUNTED	13
#define LEAVING		14	/* SITED, and RDX is in the slot */
#define LEFT		15	/* outside, not counted */
#define LEFT_COUNTED	16
#define OUT		17	/* the program's own code again */

.macro ENCLU
	.byte	0x0f, 0x01, 0xd7
.endm

.macro U rule
	.pushsection .undo, "", @progbits
	.quad	777f, \rule
	.popsection
777:
.endm

/* One way of FIND_SLOT, for one value of ZF, by the rules that hold; the flags are in AX then, but for ZF. */
.macro LOOK_UP found, kept, fails
	mov	$SELECTOR, %ecx
	lsl	%ecx, %ecx
	U	\found
	jnz	\fails
	SCALE
	mov	%rax, S_RCX(%rcx)
	lahf
	U	\kept
	seto	%al
.endm

/* RCX: 0, RAX: the program's RCX.  Afterwards RCX: the slot; RAX and the flags are free. */
.macro FIND_SLOT
	jz	1f
	LOOK_UP	FOUND_NZ, KEPT_NZ, 3f
	and	$0xbf, %ah
	U	KEPT_AX
	jmp	2f
	U	FOUND
1:	LOOK_UP	FOUND_Z, KEPT_Z, 4f
	U	KEPT_AX
2:	mov	%ax, S_FLAGS(%rcx)
	U	KEPT
	jmp	5f
	U	FOUND_NZ
3:	ENCLU
	U	FOUND_Z
4:	ENCLU
	U	KEPT
5:
.endm

/* RCX, the limit in bytes: times 2^15, for slots are above all enclaves; flags are not to change. */
.macro SCALE
	.rept	5
	lea	(, %rcx, 8), %rcx
	.endr
.endm

/* RCX: the slot; RAX is free afterwards. */
.macro RESTORE_FLAGS
	movzwl	S_FLAGS(%rcx), %eax
	add	$0x7f, %al		/* OF */
	sahf
.endm

	.section .in_process, "ax", @progbits
enclu_in_process_start:

enclu_eenter:
	U	SITED
	mov	%rdx, S_RDX(%rcx)
	mov	%rsi, S_RSI(%rcx)
	mov	%rdi, S_RDI(%rcx)
	U	CLAIMING
	cmpq	$0, S_TCS_LA(%rcx)
	jne	enclu_eenter_slow
	mov	%rbx, %rax
	shr	$12, %rax
	imul	$(TICKET_HASH - 0x100000000), %eax, %eax
	shr	$(32 - TICKET_BITS), %eax
	shl	$TICKET_SHIFT, %eax
	movabs	$TICKETS, %rdx
	add	%rdx, %rax
	cmp	%rbx, T_KEY(%rax)
	jne	enclu_eenter_slow
	mov	S_RCX(%rcx), %rdx	/* the AEP */
	shr	$NOT_CANONICAL, %rdx
	jnz	enclu_eenter_slow
	mov	%rax, S_TICKET(%rcx)
	mov	T_EID(%rax), %rdx
	mov	%rdx, S_EID(%rcx)
	mov	T_BASE(%rax), %rdx
	mov	%rdx, S_BASE(%rcx)
	mov	T_SIZE(%rax), %rdx
	mov	%rdx, S_SIZE(%rcx)
	mov	T_EPOCH(%rax), %rdx
	mov	%rdx, S_EPOCH(%rcx)
	mov	T_TF(%rax), %rdx
	mov	%rdx, S_TF(%rcx)
	mov	T_NARROW(%rax), %rdx
	mov	%rdx, S_NARROW(%rcx)
	mov	T_TCS(%rax), %rdx
	mov	%rdx, S_TCS(%rcx)
	mov	%rbx, S_TCS_LA(%rcx)
	mov	%rax, %rdi
	xor	%eax, %eax
	lock cmpxchg %rcx, TCS_STATE(%rdx)	/* this processor's, if it was free; and a barrier */
	jne	enclu_eenter_slow
	cmp	%rbx, T_KEY(%rdi)		/* revoked meanwhile? */
	jne	enclu_eenter_slow
	mov	TCS_CSSA(%rdx), %esi
	cmp	T_FRAMES(%rdi), %rsi
	jae	enclu_eenter_slow
	mov	T_FRAME_SIZE(%rdi), %rax
	imul	%rsi, %rax
	add	T_GPRSGX(%rdi), %rax
	mov	%rsp, GPRSGX_URSP(%rax)
	mov	%rbp, GPRSGX_URBP(%rax)
	mov	%rax, S_GPRSGX(%rcx)
	mov	S_RCX(%rcx), %rax
	mov	%rax, TCS_AEP(%rdx)
	rdfsbase %rax
	mov	%rax, S_FS(%rcx)
	rdgsbase %rax
	mov	%rax, S_GS(%rcx)
	shl	$4, %esi
	lea	T_STUBS(%rdi, %rsi), %rsi
	mov	%rsi, S_STUB(%rcx)

	/* Of what the enclave has not in XFRM, what is in use is put aside and becomes initial. */
	mov	T_NARROW(%rdi), %edi
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
	stmxcsr	S_INITIAL + XSAVE_MXCSR(%rcx)
	mov	%esi, %eax
	xor	%edx, %edx
	xrstor64 S_INITIAL(%rcx)
1:
	movb	$1, S_MODE(%rcx)		/* it is in the enclave */
	U	ENTERED
	incq	S_EENTERS(%rcx)
	U	ENTERED_COUNTED
	mov	S_TICKET(%rcx), %rax
	mov	T_FS(%rax), %rdx
	wrfsbase %rdx
	mov	T_GS(%rax), %rdx
	wrgsbase %rdx
	mov	S_RDX(%rcx), %rdx
	mov	S_RSI(%rcx), %rsi
	mov	S_RDI(%rcx), %rdi
	RESTORE_FLAGS
	mov	S_STUB(%rcx), %rax
	mov	S_SITE(%rcx), %rcx
	lea	3(%rcx), %rcx
enclu_eenter_last:
	jmp	*%rax				/* to the ticket, which has the last two instructions */
	U	CLAIMING
enclu_eenter_slow:
	ENCLU

enclu_eexit:
	U	SITED
	cmpb	$1, S_MODE(%rcx)
	jne	enclu_eexit_slow
	testb	$1, S_TF(%rcx)
	jnz	enclu_eexit_slow
	mov	%rbx, %rax
	shr	$NOT_CANONICAL, %rax
	jnz	enclu_eexit_slow
	cmpq	$0, S_TCS(%rcx)			/* it was entered at a TCS that is nowhere to be seen from here */
	je	enclu_eexit_slow
	mov	%rdx, S_RDX(%rcx)
	U	LEAVING
	mov	S_TCS(%rcx), %rdx
	mov	TCS_AEP(%rdx), %rax
	mov	%rax, S_AEP(%rcx)
	movb	$0, S_MODE(%rcx)		/* it has left */
	U	LEFT
	incq	S_EEXITS(%rcx)
	U	LEFT_COUNTED
	cmpl	$0, S_ASIDE(%rcx)
	je	1f
	stmxcsr	S_XSAVE + XSAVE_MXCSR(%rcx)	/* which XRSTOR loads where it has AVX, and which is the enclave's */
	mov	S_NARROW(%rcx), %eax
	xor	%edx, %edx
	xrstor64 S_XSAVE(%rcx)
	movl	$0, S_ASIDE(%rcx)
1:	mov	S_FS(%rcx), %rax
	wrfsbase %rax
	mov	S_GS(%rcx), %rax
	wrgsbase %rax
	mov	S_TCS(%rcx), %rdx
	movq	$0, TCS_STATE(%rdx)
	movq	$0, S_TCS_LA(%rcx)
	mov	S_RDX(%rcx), %rdx
	RESTORE_FLAGS
	mov	$EEXIT_LEAF, %eax
	mov	S_AEP(%rcx), %rcx
	jmp	*%rbx
	U	SITED
enclu_eexit_slow:
	ENCLU
	U	OUT
enclu_in_process_end:

/* What an EEXIT that was changed jumps to: copied to where it can be reached, with both numbers filled in. */
	.balign	64
enclu_exit_template:
	U	AT_ENCLU
	xchg	%rax, %rcx
	U	SWAPPED
	lea	-EEXIT_LEAF(%rcx), %rcx
	U	SWAPPED_LESS
	jrcxz	1f
	lea	EEXIT_LEAF(%rcx), %rcx
	U	SWAPPED
	xchg	%rax, %rcx
	U	AT_ENCLU
	ENCLU
	U	FOUND
1:	FIND_SLOT
enclu_exit_template_site:
	movabs	$0x1122334455667788, %rax
	mov	%rax, S_SITE(%rcx)
	U	SITED
	jmp	*enclu_exit_template_common(%rip)
	U	OUT
	.balign	8
enclu_exit_template_common:
	.quad	0
enclu_exit_template_end:

/* For a vDSO function: in front of its ENCLU, which stays, what jumps to IN_PROCESS_EENTER once the process uses SGX. */
.macro IN_PROCESS_JUMP
enclu_jump:
	.byte	0x0f, 0x1f, 0x44, 0, 0	/* NOP, as long as the jump */
.endm

.macro IN_PROCESS_EENTER enclu
	.section .in_process, "ax", @progbits
	.balign	64
enclu_vdso_eenter:
	U	AT_ENCLU
	xchg	%rax, %rcx
	U	SWAPPED
	lea	-EENTER_LEAF(%rcx), %rcx
	U	SWAPPED_LESS
	jrcxz	1f
	lea	EENTER_LEAF(%rcx), %rcx
	U	SWAPPED
	xchg	%rax, %rcx
	U	AT_ENCLU
	jmp	\enclu
	U	FOUND
1:	FIND_SLOT
	lea	\enclu(%rip), %rax
	mov	%rax, S_SITE(%rcx)
	U	SITED
	jmp	enclu_eenter
	U	OUT
.endm

	.text
