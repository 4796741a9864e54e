/*
 * Entry and exit as the SDK's trusted runtime has them: an ECALL's number or a command in RDI, its structure in RSI; the
 * stack of the thread is gone on with from its innermost OCALL; EXCEPT at CSSA 1 on a stack of its own.
 */
#include "protocol.S"

	.text
	.globl enclave_entry
enclave_entry:
	mov %rcx, %r15
	mov %rsp, %r14
	mov %rbp, %r13
	KNOW_THREAD
	test %rax, %rax
	jne .Lexception
	mov %r15, %fs:EXIT_TO
	mov %fs:LAST_SP, %rsp
	cmp $ORET, %rdi
	je back_from_ocall
	cld
	SERVE trts_enter

.Lexception:
	EXCEPTION_STACK
	SERVE trts_exception

leave:
	mov %r14, %rsp
	ENCLU 4
