/*
 * A debugger within the program, as nothing in `enclu run` can trace: it gets #DB and #BP as SIGTRAP, which is what a
 * tracer would be told of.
 */
#ifndef DEBUGGER_H
#define DEBUGGER_H

#include <stdbool.h>
#include <stdint.h>

struct debugger {
	volatile bool stepping;
	unsigned int steps;		/* #DB */
	unsigned int breakpoints;	/* #BP */
	unsigned int inside;		/* of both, with RIP in ELRANGE */
	unsigned int others;		/* SIGTRAP of another kind */
	uint8_t *enclu;			/* the first ENCLU that a step came to */
	unsigned int enclus;		/* how many steps came to one */
	unsigned int behind;		/* and the next step was right behind it */
	uint8_t *last;			/* RIP of the last SIGTRAP */
	uint64_t rax;			/* of the last breakpoint */
};
extern struct debugger debugger;

void debugger_start(const uint8_t *elrange, uint64_t size);

/* Steps every instruction from the next one on, by RFLAGS.TF, also past a POPF that clears it. */
#define STEP_ON() (debugger.stepping = true, SET_TF())
#define SET_TF() ({ __asm__ volatile("pushfq; orl $0x100, (%%rsp); popfq" : : : "memory", "cc"); })
#define STEP_OFF() (debugger.stepping = false)

/*
 * INT3 over the first byte of an instruction.  When it is hit, the debugger takes it away and goes on; if it is to
 * `stay`, it has the instruction executed elsewhere instead (displaced stepping, which gdb uses in non-stop mode, so
 * that other threads cannot miss the breakpoint).
 */
void debugger_break(uint8_t *at, bool stay);

#endif
