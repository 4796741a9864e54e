/* Commands, events and signals.  There is no C library here: it would only be more to trust and to start. */
#define _GNU_SOURCE	/* REG_RIP and the like */
#include "agent.h"

#include <linux/futex.h>
#include <signal.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <ucontext.h>

#define ARCH_SET_GS 0x1001
#define THREAD_FLAGS 0x50f00	/* CLONE_VM, CLONE_FS, CLONE_FILES, CLONE_SIGHAND, CLONE_THREAD, CLONE_SYSVSEM */
#define SPINS 2000		/* how long to look for a turn before sleeping: some microseconds */

_Static_assert(offsetof(struct channel, leaf) == CHANNEL_LEAF, "agent.h");
_Static_assert(offsetof(struct channel, in) == CHANNEL_IN, "agent.h");
_Static_assert(offsetof(struct channel, out) == CHANNEL_OUT, "agent.h");
_Static_assert(offsetof(struct frame, info) == FRAME_INFO, "agent.h");

uint64_t enter_address;
static enter_function *enter;
static uint8_t *left;		/* where the function that enters goes on when a signal leaves the enclave */
static uint64_t aep;

unsigned int event(struct frame *frame);
void begin(uint64_t *stack);
void cpuid(uint64_t *args);
void begin_thread(struct channel *channel);
void restorer(void);
long spawn(unsigned long flags, void *stack, struct channel *channel);

static long call(long number, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long result;

	__asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}

static void give_turn(struct channel *channel)
{
	__atomic_store_n(&channel->turn, TURN_PYTHON, __ATOMIC_SEQ_CST);
	call(SYS_futex, (long)&channel->turn, FUTEX_WAKE, 1, 0, 0, 0);
}

static void await_turn(struct channel *channel)
{
	for (int i = 0; i < SPINS; i++) {
		if (__atomic_load_n(&channel->turn, __ATOMIC_ACQUIRE) == TURN_AGENT)
			return;
		__builtin_ia32_pause();
	}
	while (__atomic_load_n(&channel->turn, __ATOMIC_ACQUIRE) != TURN_AGENT)
		call(SYS_futex, (long)&channel->turn, FUTEX_WAIT, TURN_PYTHON, 0, 0, 0);
}

static void enter_enclave(struct channel *channel)
{
	struct frame frame = { .tcs = (void *)channel->args[0], .channel = channel, .outer = channel->frame };

	channel->frame = &frame;
	enter(&frame);
	channel->frame = frame.outer;
	channel->result = 0;
}

/* Does what is asked; returns the leaf to go on with when that is, 0 for none. */
static unsigned int serve(struct channel *channel)
{
	for (;;) {
		uint64_t *args = channel->args;

		await_turn(channel);
		switch (channel->command) {
		case COMMAND_SYSCALL:
			channel->result = call(args[0], args[1], args[2], args[3], args[4], args[5], args[6]);
			break;
		case COMMAND_SPAWN:
			channel->result = spawn(THREAD_FLAGS, (void *)args[1], (struct channel *)args[0]);
			break;
		case COMMAND_ENTER:
			enter_enclave(channel);
			break;
		case COMMAND_CPUID:
			cpuid(args);
			break;
		case COMMAND_AGAIN:
			return EENTER;
		case COMMAND_RESUME:
			return ERESUME;
		case COMMAND_LEAVE:
			return 0;
		}
		give_turn(channel);
	}
}

unsigned int event(struct frame *frame)
{
	give_turn(frame->channel);
	return serve(frame->channel);
}

void begin_thread(struct channel *channel)
{
	call(SYS_arch_prctl, ARCH_SET_GS, (long)channel, 0, 0, 0, 0);
	channel->tid = call(SYS_gettid, 0, 0, 0, 0, 0, 0);
	give_turn(channel);
	serve(channel);	/* Never returns: Python gives no COMMAND_LEAVE where nothing was entered. */
}

static struct channel *own_channel(void)
{
	struct channel *channel = NULL;

	call(SYS_arch_prctl, 0x1004 /* ARCH_GET_GS */, (long)&channel, 0, 0, 0, 0);
	return channel;
}

/*
 * An exception at the ENCLU, where the design leaves it a signal, and the interrupting signal: the function that enters
 * goes on with the registers of an event.  Other exceptions are mistakes of ours, by which the process dies.
 */
static void on_signal(int signo, siginfo_t *info, void *context)
{
	greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
	struct channel *channel = own_channel();
	int synchronous = signo == SIGSEGV || signo == SIGILL || signo == SIGBUS || signo == SIGFPE || signo == SIGTRAP;

	if (channel && channel->frame && (uint64_t)registers[REG_RIP] == aep
	    && (synchronous ? info->si_code > 0 : registers[REG_RAX] == ERESUME)) {
		registers[REG_RDI] = synchronous ? registers[REG_TRAPNO] : 0;
		registers[REG_RSI] = synchronous ? registers[REG_ERR] : 0;
		registers[REG_RDX] = synchronous && registers[REG_TRAPNO] == 14 ? registers[REG_CR2] : 0;
		registers[REG_RAX] = synchronous ? registers[REG_RAX] : INTERRUPTED;
		registers[REG_RBP] = channel->frame->rbp;
		registers[REG_RIP] = (greg_t)left;
	} else if (synchronous) {
		struct { void *handler; unsigned long flags; void *restorer; uint64_t mask; } action = { 0 };

		call(SYS_rt_sigaction, signo, (long)&action, 0, 8, 0, 0);
	}
}

static uint64_t number(const char *digits)
{
	uint64_t value = 0;

	for (; *digits; digits++)
		value = value * 10 + *digits - '0';
	return value;
}

/*
 * Arguments: the way to enter (0 an ENCLU, 1 `vdso`, 2 `vdso-2018`); the vDSO's function, or 0 for our own ENCLU; the
 * AEP, or 0; the descriptors of the shared memory and of a pipe that Python holds open; the memory's address and size;
 * offsets of the first thread's channel and of the end of its stack.
 */
void begin(uint64_t *stack)
{
	static enter_function *const ways[] = { enter_at, enter_by_vdso, enter_by_vdso_2018 };
	static uint8_t *const lefts[] = { enter_returned, vdso_left, vdso_2018_left };
	uint64_t arguments[9], byte;
	struct channel *channel;
	uint8_t *memory;

	for (int i = 0; i < 9; i++)
		arguments[i] = i + 1 < (int)stack[0] ? number((const char *)stack[i + 2]) : 0;
	enter = ways[arguments[0] % 3];
	left = lefts[arguments[0] % 3];
	enter_address = arguments[1] ? arguments[1] : (uint64_t)enter_enclu;
	aep = arguments[2] ? arguments[2] : (uint64_t)enter_enclu;
	memory = (uint8_t *)call(SYS_mmap, arguments[5], arguments[6], 3, 0x100001 /* SHARED, FIXED_NOREPLACE */,
				 arguments[3], 0);
	if (memory != (uint8_t *)arguments[5])
		call(SYS_exit_group, 125, 0, 0, 0, 0, 0);
	*(struct hello *)memory = (struct hello){
		.channel_size = sizeof(struct channel),
		.enclu = (uint64_t)enter_enclu, .enclu_end = (uint64_t)enter_end, .returned = (uint64_t)enter_returned,
		.on_signal = (uint64_t)on_signal, .restorer = (uint64_t)restorer,
	};
	channel = (struct channel *)(memory + arguments[7]);
	spawn(THREAD_FLAGS, memory + arguments[8], channel);
	/* The process lives as long as Python keeps its end of the pipe. */
	while (call(SYS_read, arguments[4], (long)&byte, 1, 0, 0, 0) == -4 /* EINTR */)
		;
	call(SYS_exit_group, 0, 0, 0, 0, 0, 0);
}
