/* Commands, events and signals. */
#define _GNU_SOURCE	/* REG_RIP and the like */
#include "agent.h"
#include "system_call.h"

#include <signal.h>
#include <stddef.h>
#include <ucontext.h>

#define ARCH_SET_GS 0x1001
#define THREAD_FLAGS 0x50f00	/* CLONE_VM, CLONE_FS, CLONE_FILES, CLONE_SIGHAND, CLONE_THREAD, CLONE_SYSVSEM */

uint64_t enter_address;
uint8_t calls_back;
static struct way way;
static enter_function *enter;
static uint8_t *left;		/* where the function that enters goes on when a signal leaves the enclave */
static uint64_t aep;

unsigned int event(struct frame *frame);
void prepare(struct frame *frame, unsigned int leaf);
unsigned int function_event(struct frame *frame);
void begin(uint64_t *stack);
void cpuid(uint64_t *args);
void begin_thread(struct channel *channel);
void restorer(void);
long spawn(unsigned long flags, void *stack, struct channel *channel);

static void enter_enclave(struct channel *channel)
{
	struct frame frame = { .tcs = (void *)channel->args[0], .channel = channel, .outer = channel->frame };

	channel->frame = &frame;
	channel->depth++;
	enter(&frame);
	channel->depth--;
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

static void put(struct frame *frame, struct field field, uint64_t value)
{
	for (int i = 0; i < field.size; i++)
		((volatile uint8_t *)frame->info)[field.offset + i] = value >> 8 * i;
}

static uint64_t get(const struct frame *frame, struct field field)
{
	uint64_t value = 0;

	for (int i = 0; i < field.size; i++)
		value |= (uint64_t)((const uint8_t *)frame->info)[field.offset + i] << 8 * i;
	return value;
}

/* Before each call of the vDSO's function: what it will get. */
void prepare(struct frame *frame, unsigned int leaf)
{
	for (int i = 0; i < 7; i++) {
		unsigned int kind = way.arguments[i];

		frame->arguments[i] = kind == VALUE_NONE ? 0 : kind == VALUE_TCS ? (uint64_t)frame->tcs
				    : kind == VALUE_LEAF ? leaf : kind == VALUE_INFO ? (uint64_t)frame->info
				    : frame->channel->in[kind - VALUE_IN];
	}
	put(frame, way.tcs, (uint64_t)frame->tcs);
	put(frame, way.handler, (uint64_t)enter_handler);
	put(frame, way.leaf, EEXIT);	/* Not every function says so. */
}

/* The function has returned, or calls back: its structure tells how the enclave was left. */
unsigned int function_event(struct frame *frame)
{
	struct channel *channel = frame->channel;

	channel->out[0] = channel->leaf = get(frame, way.leaf);
	channel->vector = get(frame, way.vector);
	channel->error_code = get(frame, way.error_code);
	channel->address = get(frame, way.address);
	return event(frame);
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
 * Arguments: the descriptors of the shared memory and of a pipe that Python holds open; the memory's address and size;
 * offsets of the first thread's channel and of the end of its stack.
 */
void begin(uint64_t *stack)
{
	uint64_t arguments[6], byte;
	struct channel *channel;
	struct hello *hello;
	uint8_t *memory;

	for (int i = 0; i < 6; i++)
		arguments[i] = i + 1 < (int)stack[0] ? number((const char *)stack[i + 2]) : 0;
	memory = (uint8_t *)call(SYS_mmap, arguments[2], arguments[3], 3, 0x100001 /* SHARED, FIXED_NOREPLACE */,
				 arguments[0], 0);
	if (memory != (uint8_t *)arguments[2])
		call(SYS_exit_group, 125, 0, 0, 0, 0, 0);
	hello = (struct hello *)memory;
	hello->channel_size = sizeof(struct channel);
	hello->enclu = (uint64_t)enter_enclu;
	hello->enclu_end = (uint64_t)enter_end;
	hello->returned = (uint64_t)enter_returned;
	hello->on_signal = (uint64_t)on_signal;
	hello->restorer = (uint64_t)restorer;
	way = hello->way;
	enter = way.function ? enter_by_function : enter_at;
	left = way.function ? function_left : enter_returned;
	enter_address = way.entry ? way.entry : (uint64_t)enter_enclu;
	aep = way.aep ? way.aep : (uint64_t)enter_enclu;
	calls_back = way.handler.size != 0;
	channel = (struct channel *)(memory + arguments[4]);
	spawn(THREAD_FLAGS, memory + arguments[5], channel);
	/* The process lives as long as Python keeps its end of the pipe. */
	while (call(SYS_read, arguments[1], (long)&byte, 1, 0, 0, 0) == -4 /* EINTR */)
		;
	call(SYS_exit_group, 0, 0, 0, 0, 0, 0);
}
