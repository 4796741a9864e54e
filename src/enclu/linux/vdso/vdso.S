/*
 * The vDSO with __vdso_sgx_enter_enclave(), as programs know it from Linux 5.11 on.  Contract: sgx_enclave_run,
 * vdso_sgx_enter_enclave_t and sgx_enclave_user_handler_t in the kernel's uapi header asm/sgx.h.
 */
#include "common.h"

#define EENTER		2
#define ERESUME		3
#define EEXIT		4
#define EINVAL		22

/* struct sgx_enclave_run */
#define RUN_TCS			0
#define RUN_FUNCTION		8
#define RUN_VECTOR		12
#define RUN_ERROR_CODE		14
#define RUN_ADDR		16
#define RUN_USER_HANDLER	24
#define RUN_RESERVED		40
#define RUN_SIZE		256

/* The frame.  An enclave keeps RBP (EEXIT) or has it restored (AEX); it may leave anything in RSP. */
#define RUN_ARGUMENT		16(%rbp)
#define SAVED_RBX		-8(%rbp)

/*
 * int __vdso_sgx_enter_enclave(rdi, rsi, rdx, unsigned function, r8, r9, struct sgx_enclave_run *run)
 *
 * 0 after an EEXIT and after an exception, -EINVAL if `function` is neither EENTER nor ERESUME or run->reserved is
 * not zero; with run->user_handler, what that returned if not positive.
 *
 * RAX, RBX and RCX are the only general registers that may change before ENCLU: the enclave gets the others.
 * RBX and RBP are all that is saved, as in Linux: R12 to R15 are what the enclave left in them, or what an AEX did
 * (SDM 3D, asynchronous exits: synthetic state), and are the caller's to keep.
 */
	.balign	64
	.globl	__vdso_sgx_enter_enclave
	.type	__vdso_sgx_enter_enclave, @function
__vdso_sgx_enter_enclave:
	.cfi_startproc
	push	%rbp
	.cfi_def_cfa_offset 16
	.cfi_offset %rbp, -16
	mov	%rsp, %rbp
	.cfi_def_cfa_register %rbp
	push	%rbx
	.cfi_offset %rbx, -24
	mov	%ecx, %eax

.Lenter:	/* EAX: the leaf. */
	lea	-EENTER(%rax), %ebx
	cmp	$(ERESUME - EENTER), %ebx
	ja	.Linvalid
	mov	RUN_ARGUMENT, %rcx
	.set	.Lword, RUN_RESERVED		/* nine words at a time: by a loop, a pair takes a tenth more */
	.rept	(RUN_SIZE - RUN_RESERVED) / 72
	mov	.Lword(%rcx), %rbx
	.rept	8
	.set	.Lword, .Lword + 8
	or	.Lword(%rcx), %rbx
	.endr
	jnz	.Linvalid
	.set	.Lword, .Lword + 8
	.endr
	mov	RUN_TCS(%rcx), %rbx
	lea	.Lenclu(%rip), %rcx
	IN_PROCESS_JUMP
.Lenclu:	/* EENTER or ERESUME; and the AEP, where RAX is ERESUME and RBX the TCS. */
	.byte	0x0f, 0x01, 0xd7
	EXTABLE	.Lenclu, .Lexception

	/* EEXIT. */
	mov	RUN_ARGUMENT, %rax
	movl	$EEXIT, RUN_FUNCTION(%rax)

.Lleft:	/* RAX: run. */
	cld
	cmpq	$0, RUN_USER_HANDLER(%rax)
	jne	.Lhandler
	xor	%eax, %eax

.Lreturn:	/* EAX: the result. */
	mov	SAVED_RBX, %rbx
	.cfi_remember_state
	leave
	.cfi_def_cfa %rsp, 8
	.cfi_restore %rbp
	ret
	.cfi_restore_state

.Linvalid:
	mov	$-EINVAL, %eax
	jmp	.Lreturn

.Lexception: /* The fixup.  EAX: leaf, RDI: trap number, RSI: error code, RDX: address. */
	mov	RUN_ARGUMENT, %rbx
	mov	%eax, RUN_FUNCTION(%rbx)
	mov	%di, RUN_VECTOR(%rbx)
	mov	%si, RUN_ERROR_CODE(%rbx)
	mov	%rdx, RUN_ADDR(%rbx)
	mov	%rbx, %rax
	jmp	.Lleft

.Lhandler: /* (rdi, rsi, rdx, rsp, r8, r9, run): RSP as the enclave left it, and given back if it is entered again. */
	mov	%rsp, %rbx
	mov	%rsp, %rcx
	and	$-16, %rsp
	push	%rax
	push	%rax
	call	*RUN_USER_HANDLER(%rax)
	mov	%rbx, %rsp
	test	%eax, %eax
	jg	.Lenter
	jmp	.Lreturn
	.cfi_endproc
	.size	__vdso_sgx_enter_enclave, . - __vdso_sgx_enter_enclave
