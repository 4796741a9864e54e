/* Entering by an ENCLU of the runtime's own. */
#include "frame.h"

	.text
	SHARED enter_enclave, enter_enclu, enter_faulted, enter_end
	.type enter_enclave, @function
enter_enclave:
	OPEN_FRAME
	mov $EENTER, %eax
.Lagain: /* EAX: the leaf. */
	mov FRAME_ENTRY(%rbp), %rdi
	mov ENTRY_TCS(%rdi), %rbx
	mov ENTRY_CALL(%rdi), %rdi
	lea enter_enclu(%rip), %rcx
	BEFORE rdx, rsi, r8, r9, r10, r11, r12, r13, r14, r15
enter_enclu: /* And the AEP: after an interrupt, resume. */
	ENCLU
	AFTER
	mov $EEXIT, %eax
.Levent:
	EVENT
	test %eax, %eax
	jnz .Lagain
	CLOSE_FRAME
enter_faulted:
	AFTER
	/* The kernel may send other runtimes' exceptions here, too.  RCX is the AEP. */
	lea enter_enclu(%rip), %r8
	cmp %r8, %rcx
	je .Levent
	and $-16, %rsp
	call entry_of_a_stranger
	.cfi_endproc
enter_end:
	.size enter_enclave, . - enter_enclave
	.section .note.GNU-stack, "", @progbits
