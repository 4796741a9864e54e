/*
 * Looks at an ioctl of the program's: what native/add_queue.py describes.  RCX: the slot (native/path_calls.py), as for
 * paths; RAX, R11 and the flags are free.
 */
#define ADD_PAGES	0xc030a401	/* SGX_IOC_ENCLAVE_ADD_PAGES, and its argument */
#define ADD_SRC		0
#define ADD_OFFSET	8
#define ADD_LENGTH	16
#define ADD_SECINFO	24
#define ADD_FLAGS	32
#define ADD_COUNT	40

#define Q_LOCK		0
#define Q_COUNT		8
#define Q_MOST		16
#define Q_START		24
#define Q_FLAGS		32
#define Q_LOW		40
#define Q_HIGH		48
#define Q_DEV		56
#define Q_INO		64
#define Q_SRC		72
#define Q_RDI		80
#define Q_RSI		88
#define Q_RDX		96
#define Q_R8		104
#define Q_SECINFO	128
#define Q_STAT		192	/* st_dev, st_ino */
#define Q_DATA		4096
#define BEHIND_CALL	15

/* R11: the queue.  Afterwards RCX: the slot. */
.macro RESTORE_CALL
	mov	Q_RDI(%r11), %rdi
	mov	Q_RSI(%r11), %rsi
	mov	Q_RDX(%r11), %rdx
	mov	Q_R8(%r11), %r8
	mov	Q_LOCK(%r11), %rcx
.endm

STUB enclu_ioctl
	.cfi_startproc
	.cfi_undefined %rip
	cmp	$ADD_PAGES, %esi
	jne	enclu_path_stop
	mov	enclu_queue(%rip), %r11
	test	%r11, %r11
	jz	enclu_path_stop
	xor	%eax, %eax
	lock cmpxchg %rcx, Q_LOCK(%r11)
	U	LOCKING
	jne	enclu_path_stop
	mov	%rdi, Q_RDI(%r11)
	mov	%rsi, Q_RSI(%r11)
	mov	%rdx, Q_RDX(%r11)
	mov	%r8, Q_R8(%r11)
	U	QUEUEING
	mov	%rdx, %r8
	mov	Q_COUNT(%r11), %rax
	cmp	Q_MOST(%r11), %rax
	jae	3f
	shl	$12, %rax
	add	Q_START(%r11), %rax
	cmp	%rax, ADD_OFFSET(%r8)
	jne	3f
	cmpq	$4096, ADD_LENGTH(%r8)
	jne	3f
	mov	ADD_FLAGS(%r8), %rax
	cmp	Q_FLAGS(%r11), %rax
	jne	3f
	mov	ADD_SECINFO(%r8), %rsi
	mov	$8, %ecx
1:	mov	-8(%rsi, %rcx, 8), %rax
	cmp	Q_SECINFO - 8(%r11, %rcx, 8), %rax
	jne	3f
	dec	%ecx
	jnz	1b
	mov	ADD_SRC(%r8), %rsi
	test	$0xfff, %esi
	jnz	3f
	cmp	Q_HIGH(%r11), %rsi
	jae	1f
	lea	4096(%rsi), %rax
	cmp	Q_LOW(%r11), %rax
	ja	3f
1:	mov	%rsi, Q_SRC(%r11)
	lea	Q_STAT(%r11), %rsi
	mov	$5, %eax		/* __NR_fstat */
	syscall
	mov	enclu_queue(%rip), %r11
	test	%eax, %eax
	jnz	3f
	mov	Q_STAT(%r11), %rax
	cmp	Q_DEV(%r11), %rax
	jne	3f
	mov	Q_STAT + 8(%r11), %rax
	cmp	Q_INO(%r11), %rax
	jne	3f
	mov	Q_SRC(%r11), %rsi
	mov	Q_COUNT(%r11), %rdi
	shl	$12, %rdi
	lea	Q_DATA(%r11, %rdi), %rdi
	mov	$512, %ecx
2:	mov	-8(%rsi, %rcx, 8), %rax
	mov	%rax, -8(%rdi, %rcx, 8)
	mov	-16(%rsi, %rcx, 8), %rax
	mov	%rax, -16(%rdi, %rcx, 8)
	sub	$2, %ecx
	jnz	2b
	movq	$4096, ADD_COUNT(%r8)
	incq	Q_COUNT(%r11)		/* it is added */
	U	QUEUED
	RESTORE_CALL
	lea	BEHIND_CALL(%rcx), %rcx
	xor	%eax, %eax
	movq	$0, Q_LOCK(%r11)
	U	OUT
	jmp	*%rcx
	U	QUEUEING
3:	RESTORE_CALL
	movq	$0, Q_LOCK(%r11)
	U	OUT
	jmp	enclu_path_stop
	.cfi_endproc
	.size	enclu_ioctl, . - enclu_ioctl

	.balign	8
enclu_queue:
	.quad	0		/* QUEUE, where there is one */
