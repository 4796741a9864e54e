/* Entering by a bare ENCLU in the vDSO, behind which there is a jump to enter_returned. */
#include "frame.h"

	.text
	SHARED enter_by_jump, enter_returned
	.type enter_by_jump, @function
enter_by_jump:
	OPEN_FRAME
	mov $EENTER, %eax
.Lagain: /* EAX: the leaf. */
	mov FRAME_ENTRY(%rbp), %rdi
	mov ENTRY_TCS(%rdi), %rbx
	mov ENTRY_CALL(%rdi), %rdi
	mov vdso_function(%rip), %rcx	/* The AEP. */
	BEFORE rdx, rsi, r8, r9, r10, r11, r12, r13, r14, r15
	jmp *%rcx
enter_returned: /* RAX: EEXIT, or the leaf of an exception. */
	AFTER
	EVENT
	test %eax, %eax
	jnz .Lagain
	CLOSE_FRAME
	.cfi_endproc
	.size enter_by_jump, . - enter_by_jump

	.bss
	.balign 8
	SHARED vdso_function
vdso_function:
	.quad 0
	.section .note.GNU-stack, "", @progbits
