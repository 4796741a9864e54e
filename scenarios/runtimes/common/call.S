/* Entering by a function of the vDSO, whatever its arguments. */
#include "frame.h"

	.text
/* void call_function(struct entry *entry, const uint64_t arguments[7], void *function) */
	SHARED call_function
	.type call_function, @function
call_function:
	OPEN_FRAME
	mov %rdx, %rax
	mov %rsi, %r10
	push 48(%r10)
	push 48(%r10)			/* The seventh argument, and RSP is a multiple of 16. */
	mov (%r10), %rdi
	mov 8(%r10), %rsi
	mov 16(%r10), %rdx
	mov 24(%r10), %rcx
	mov 32(%r10), %r8
	mov 40(%r10), %r9
	BEFORE rbx, r10, r11, r12, r13, r14, r15
	call *%rax
	AFTER
	CLOSE_FRAME
	.cfi_endproc
	.size call_function, . - call_function
	.section .note.GNU-stack, "", @progbits
