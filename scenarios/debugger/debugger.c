#include "debugger.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

enum { TF = 0x100, INT3 = 0xcc, PAGE = 4096 };

struct debugger debugger;
static const uint8_t *elrange;
static uint64_t elrange_size;
static struct { uint8_t *at, original, *copy; } breakpoint;

static void on_step(greg_t *registers)
{
	static const uint8_t enclu[] = { 0x0f, 0x01, 0xd7 };
	uint8_t *rip = (uint8_t *)registers[REG_RIP];

	debugger.steps++;
	if (debugger.last && !memcmp(debugger.last, enclu, sizeof(enclu)))
		debugger.behind += rip == debugger.last + sizeof(enclu);
	if (!memcmp(rip, enclu, sizeof(enclu))) {
		debugger.enclus++;
		if (!debugger.enclu)
			debugger.enclu = rip;
	}
	debugger.last = rip;
	if (breakpoint.copy && rip == breakpoint.copy + sizeof(enclu))
		registers[REG_RIP] = (greg_t)(breakpoint.at + sizeof(enclu));
	if (debugger.stepping)
		registers[REG_EFL] |= TF;
	else
		registers[REG_EFL] &= ~TF;
}

static void on_breakpoint(greg_t *registers)
{
	debugger.breakpoints++;
	debugger.last = (uint8_t *)registers[REG_RIP] - 1;
	debugger.rax = registers[REG_RAX];
	if (debugger.last != breakpoint.at)
		return; /* An INT3 of the program's own: on. */
	if (breakpoint.copy) {
		registers[REG_RIP] = (greg_t)breakpoint.copy;
		registers[REG_EFL] |= TF;
	} else {
		registers[REG_RIP]--;
		*breakpoint.at = breakpoint.original;
	}
}

static void on_sigtrap(int signo, siginfo_t *info, void *context)
{
	greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;

	(void)signo;
	debugger.inside += (uint64_t)registers[REG_RIP] - (uint64_t)elrange < elrange_size;
	if (info->si_code == TRAP_TRACE && registers[REG_TRAPNO] == 1)
		on_step(registers);
	else if (info->si_code == SI_KERNEL && registers[REG_TRAPNO] == 3)
		on_breakpoint(registers);
	else
		debugger.others++;
}

void debugger_start(const uint8_t *base, uint64_t size)
{
	struct sigaction action = { .sa_sigaction = on_sigtrap, .sa_flags = SA_SIGINFO };

	elrange = base;
	elrange_size = size;
	sigaction(SIGTRAP, &action, NULL);
}

void debugger_break(uint8_t *at, bool stay)
{
	enum { WRITABLE = PROT_READ | PROT_WRITE | PROT_EXEC };

	if (mprotect((void *)((uint64_t)at & -PAGE), PAGE, WRITABLE))
		abort();
	breakpoint = (typeof(breakpoint)){ .at = at, .original = *at };
	if (stay) {
		breakpoint.copy = mmap(NULL, PAGE, WRITABLE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		memcpy(breakpoint.copy, at, 16);
	}
	*at = INT3;
}
