#include "textflag.h"

// func enter(function, request, leaf, run uintptr) int32
// The vDSO's function keeps RBP and RSP only; Go wants its own registers back.
TEXT ·enter(SB), NOSPLIT, $48-36
	MOVQ function+0(FP), R10
	MOVQ request+8(FP), DI
	MOVQ leaf+16(FP), CX
	MOVQ run+24(FP), AX
	MOVQ R14, 8(SP)
	MOVQ AX, 0(SP)
	XORL SI, SI
	XORL DX, DX
	XORL R8, R8
	XORL R9, R9
	CALL R10
	MOVQ 8(SP), R14
	XORPS X15, X15
	MOVL AX, ret+32(FP)
	RET
