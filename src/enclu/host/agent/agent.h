/*
 * The agent: the program whose process has the enclaves, and which does what a Python program in another process asks.
 *
 * Every thread of it has a struct channel in memory that both share (host/channel.py has the same structure), and the
 * two take turns: Python writes a command and gives the turn, the agent does it and gives the turn back.
 */
#ifndef ENCLU_AGENT_H
#define ENCLU_AGENT_H

/* Offsets in struct channel and struct frame, for assembly. */
#define CHANNEL_LEAF 72
#define CHANNEL_VECTOR 80
#define CHANNEL_ERROR_CODE 88
#define CHANNEL_ADDRESS 96
#define CHANNEL_IN 104
#define CHANNEL_OUT 152
#define FRAME_TCS 0
#define FRAME_CHANNEL 8
#define FRAME_RBP 16
#define FRAME_INFO 32
#define RUN_FUNCTION 8
#define RUN_VECTOR 12
#define RUN_ERROR_CODE 14
#define RUN_ADDRESS 16
#define RUN_USER_DATA 32

#define EENTER 2
#define ERESUME 3
#define EEXIT 4
#define INTERRUPTED 0	/* instead of a leaf: the interrupting signal has come after an AEX */

#ifndef __ASSEMBLER__
#include <stdint.h>

enum turn { TURN_PYTHON, TURN_AGENT };

enum command {
	COMMAND_SYSCALL,	/* result = syscall(args[0], args[1], ...) */
	COMMAND_SPAWN,		/* a thread with the channel args[0] and a stack that ends at args[1] */
	COMMAND_ENTER,		/* EENTER to the TCS args[0]; the turn comes back at the first event */
	COMMAND_AGAIN,		/* at an event: EENTER once more, in the same stack frame */
	COMMAND_RESUME,		/* at an event: ERESUME */
	COMMAND_LEAVE,		/* at an event: give up the stack frame */
	COMMAND_CPUID,		/* args = EAX, EBX, ECX, EDX of leaf args[0], subleaf args[1]; and XCR0 */
};

struct channel {
	uint32_t turn;		/* a futex */
	uint32_t command;
	uint64_t args[7];
	int64_t result;
	uint64_t leaf, vector, error_code, address;	/* the event: EEXIT, or the exception of a leaf */
	uint64_t in[6];		/* RDI, RSI, RDX, R8, R9, R10 for EENTER */
	uint64_t out[16];	/* general registers at the event, as instructions number them */
	struct frame *frame;	/* the innermost; ours alone */
	uint64_t tid;
};

/* An entry under way, on the stack of its thread. */
struct frame {
	void *tcs;
	struct channel *channel;
	uint64_t rbp;		/* of the function that enters */
	struct frame *outer;
	uint64_t info[32];	/* struct sgx_enclave_run, or struct enclu_sgx_enclave_exception */
} __attribute__((aligned(16)));

/* What Python must know to set up a delivery design; at the start of the shared memory. */
struct hello {
	uint64_t channel_size;
	uint64_t enclu, enclu_end;	/* the agent's own ENCLU, and the end of the code around it */
	uint64_t returned;		/* where exceptions at it, or at that of `vdso-jmp`, go on */
	uint64_t on_signal, restorer;	/* for rt_sigaction */
};

/* The functions that enter, one for each way; they return when COMMAND_LEAVE comes. */
typedef void enter_function(struct frame *frame);
enter_function enter_at, enter_by_vdso, enter_by_vdso_2018;
extern uint8_t enter_enclu[], enter_returned[], enter_end[], vdso_left[], vdso_2018_left[];
extern uint64_t enter_address;	/* of the ENCLU that enter_at() uses, or of the vDSO's function */
void enter_handler(void);
#endif

#endif
