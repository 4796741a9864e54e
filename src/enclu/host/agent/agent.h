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
#define FRAME_ARGUMENTS 288

#define EENTER 2
#define ERESUME 3
#define EEXIT 4
#define INTERRUPTED 0	/* instead of a leaf: the interrupting signal has come after an AEX */

#define LOOKS_IN_VAIN 4		/* after so many, one after the other, nobody looks for its turn but sleeps at once, */
#define LOOKS_SELDOM 64		/* except for each so many-th time: it may have become worth while */

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
	uint64_t depth;		/* how many frames there are */
	uint32_t agent_sleeps, python_sleeps;	/* or about to: who gives the turn is to wake the other (turn.c) */
	uint32_t looks;		/* Python: whether to look for a turn before sleeping, where there are processors enough */
	uint32_t vain;		/* how often the agent has looked in vain since it last did not; ours alone */
};

/* An entry under way, on the stack of its thread. */
struct frame {
	void *tcs;
	struct channel *channel;
	uint64_t rbp;		/* of the function that enters */
	struct frame *outer;
	uint64_t info[32];	/* the structure of the vDSO's function */
	uint64_t arguments[7];	/* of that function */
} __attribute__((aligned(16)));

/* What an argument of the vDSO's function is. */
enum value { VALUE_NONE, VALUE_IN, VALUE_TCS = VALUE_IN + 6, VALUE_LEAF, VALUE_INFO };

/* A field of that function's structure; size 0: there is none. */
struct field {
	uint16_t offset, size;
};

/* How to enter, which the delivery design declares (linux/delivery/usage.py). */
struct way {
	uint64_t entry;			/* of the vDSO's ENCLU or function; 0: our own ENCLU */
	uint64_t aep;			/* 0: that ENCLU */
	uint8_t function;		/* `entry` is of a function in C */
	uint8_t arguments[7];		/* enum value; VALUE_IN + n: in[n] of the channel */
	struct field tcs, leaf, vector, error_code, address, handler;
};

/* What the two tell each other before all else; at the start of the shared memory. */
struct hello {
	uint64_t channel_size;
	uint64_t enclu, enclu_end;	/* the agent's own ENCLU, and the end of the code around it */
	uint64_t returned;		/* where exceptions at it, or at that of `vdso-jmp`, go on */
	uint64_t on_signal, restorer;	/* for rt_sigaction */
	struct way way;			/* Python writes it */
};

/* The functions that enter: at an ENCLU, or by a function of the vDSO.  They return when COMMAND_LEAVE comes. */
typedef void enter_function(struct frame *frame);
enter_function enter_at, enter_by_function;
extern uint8_t enter_enclu[], enter_returned[], enter_end[], function_left[];
extern uint64_t enter_address;	/* of the ENCLU that enter_at() uses, or of the vDSO's function */
extern uint8_t calls_back;	/* the function has a handler, and returns when all is over */
void enter_handler(void);

/* Give the turn to Python, and wait for it to come back; turn.c. */
void give_turn(struct channel *channel);
void await_turn(struct channel *channel);
#endif

#endif
