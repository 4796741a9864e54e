/* For the assembler: the 16 registers in the order of their numbers, as struct registers and struct request have them. */
	.macro ENCLU
	.byte 0x0f, 0x01, 0xd7
	.endm

	.macro EACH what:req, to:req
	\what %rax, 0 + \to
	\what %rcx, 8 + \to
	\what %rdx, 16 + \to
	\what %rbx, 24 + \to
	\what %rsp, 32 + \to
	\what %rbp, 40 + \to
	\what %rsi, 48 + \to
	\what %rdi, 56 + \to
	\what %r8, 64 + \to
	\what %r9, 72 + \to
	\what %r10, 80 + \to
	\what %r11, 88 + \to
	\what %r12, 96 + \to
	\what %r13, 104 + \to
	\what %r14, 112 + \to
	\what %r15, 120 + \to
	.endm
	.set RFLAGS, 128		/* behind them */
