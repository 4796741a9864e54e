/* What the host asks of the test enclave: shared by both sides. */
#ifndef ENCLU_TESTS_REQUESTS_H
#define ENCLU_TESTS_REQUESTS_H

#include <stdint.h>

enum request_op {
	OP_NOP,
	OP_ADD,         /* result = a + b */
	OP_READ,        /* result = *(u64 *)a */
	OP_WRITE,       /* *(u64 *)a = b */
	OP_UD2,
	OP_INT3,
	OP_DIV0,
	OP_GP,          /* read of a non-canonical address */
	OP_SYSCALL,
	OP_CPUID,
	OP_X87_FAULT,   /* unmasked x87 division by zero: #MF */
	OP_SIMD_FAULT,  /* unmasked SSE division by zero: #XM */
	OP_SPIN,        /* until *(u32 *)a != 0; first *(u32 *)b = 1, unless b is 0 */
	OP_CHECKSUM,    /* a rounds of checksum_round() from b, with AEXNOTIFY c */
	OP_STATE,       /* registers from a[], then ud2 (b = 0) or spin on b; registers to c[]; d: use YMM */
	OP_EACCEPT,     /* page a, SECINFO flags b; result = EAX */
	OP_EMODPE,      /* page a, SECINFO flags b */
	OP_EACCEPTCOPY, /* page a, SECINFO flags b, source page c; result = EAX */
	OP_EREPORT,     /* TARGETINFO a, 64 bytes of data b, REPORT c */
	OP_EGETKEY,     /* KEYREQUEST a, key (16 bytes) c; result = EAX */
	OP_MAKE_TCS,    /* fill the page a as a TCS: OSSA b, entry for dynamic TCSes */
	OP_FIX_RIP,     /* at CSSA > 0: the interrupted frame's RIP += a; the frame's facts come back */
	OP_BASE,        /* result = base address */
	OP_JUMP,        /* call the code at a */
	OP_ENCLU,       /* EAX a, RBX b, RCX c, RDX d; result = RAX */
	OP_EDECCSSA,    /* then UD2 if a */
	OP_INSTRUCTION, /* a: enum instruction, with RAX b, RCX c, RDX d; result = RAX; rip = its address */
	OP_XSTATE,      /* XRSTOR from a, spin until *(u32 *)b != 0, XSAVE to c; mask d */
	OP_XSAVEC,      /* XSAVEC to a; mask b */
	OP_CALL,        /* the code at a, with RAX b, RCX c, RDX d; result = RAX */
	OP_NOTIFIED,    /* result = how often the enclave has been notified of an AEX */
};

/* Instructions that behave differently, or not at all, in an enclave: encl_instructions in entry.S, in this order. */
enum instruction {
	INSN_IN,
	INSN_OUT,
	INSN_INSB,
	INSN_OUTSB,
	INSN_INT_2E,
	INSN_INT_3,        /* the two-byte form */
	INSN_INT_80,
	INSN_SYSENTER,
	INSN_RDPMC,
	INSN_HLT,
	INSN_CLI,
	INSN_RDTSC,
	INSN_CPUID,
	INSN_SYSCALL,
	INSN_INT3,
	INSN_ENCLU_66,     /* ENCLU with an operand-size prefix */
	INSN_SGDT,         /* to RAX */
	INSN_STR,
	INSN_SMSW,
	INSN_MOV_SS,       /* SS := SS */
	INSN_POP_FS,       /* FS := FS */
	INSN_LSS,          /* SS:RCX := from RAX */
	INSN_FAR_RETURN,   /* to the next instruction */
	INSN_UNALIGNED,    /* an unaligned read from the stack with RFLAGS.AC */
	INSN_POPF_TF,      /* POPF with TF; result: RFLAGS */
	INSN_LDMXCSR,      /* MXCSR := [RAX] */
	INSN_STMXCSR,      /* RAX := MXCSR */
	INSN_YMM,          /* [RAX] := YMM7 */
	INSN_ZMM,          /* [RAX] := ZMM7, ZMM16 to ZMM31 and K0 to K7 */
	INSN_COUNT
};

struct request {
	uint64_t op, a, b, c, d;
	uint64_t result;
	uint64_t cssa;      /* out, always */
	uint64_t exitinfo;  /* out, OP_FIX_RIP: EXITINFO, RIP, MISC.EXINFO of the interrupted frame */
	uint64_t rip;
	uint64_t exinfo_address;
	uint64_t exinfo_error;
	uint64_t rsp;       /* out, OP_FIX_RIP: RSP of the interrupted frame */
};

/* General registers in encoding order (RSP unused), vector registers, one x87 value. */
struct state {
	uint64_t gpr[16];
	uint8_t vector[16][32];
	double x87;
};

static inline uint64_t checksum_round(uint64_t x)
{
	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return x;
}

#define TEST_TCS_COUNT 4
#define TEST_SSA_FRAMES 3

#endif
