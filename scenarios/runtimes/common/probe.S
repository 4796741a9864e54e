/* For the instance that records registers; see probe.h. */
#include "frame.h"

#ifdef PROBE
	.text
/* A function with up to six arguments, called with all other registers filled. */
	SHARED probe_call
	.type probe_call, @function
probe_call:
	OPEN_FRAME
	sub $8, %rsp
	BEFORE rbx, rcx, r8, r9, r10, r11, r12, r13, r14, r15
	call *probe_function(%rip)
	AFTER
	CLOSE_FRAME
	.cfi_endproc
	.size probe_call, . - probe_call

	.bss
	.balign 64
	SHARED probe_before, probe_after, probe_filled, probe_function, probe_avx
probe_before:
	.skip 960
probe_after:
	.skip 960
probe_filled:
	.skip 960
probe_function:
	.skip 8
probe_avx:
	.skip 1
#endif
	.section .note.GNU-stack, "", @progbits
