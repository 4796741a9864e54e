/* Why the enclave was entered, and what is to be done. */
#include "trusted.h"
#include "sgx.h"

const uint64_t enclave_heap_pages = HEAP_PAGES, enclave_spare_pages = SPARE_PAGES;

extern uint8_t enclave_ssa[];
extern struct thread enclave_threads[];
void leave_for_ocall(struct thread *thread, uint64_t word);
uint64_t trusted_enter(struct thread *thread);

static struct ssa_gpr *frame(const struct thread *thread, uint64_t cssa)
{
	uint64_t index = (thread->tcs - (uint64_t)enclave_base) / SGX_PAGE;

	return (struct ssa_gpr *)(enclave_ssa + (index * SGX_SSA_FRAMES + cssa + 1) * SGX_PAGE) - 1;
}

struct ssa_gpr *ssa_gpr(const struct thread *thread)
{
	return frame(thread, thread->cssa);
}

struct thread *exception_thread(const struct ssa_gpr *gpr)
{
	return &enclave_threads[((uint64_t)gpr - (uint64_t)enclave_ssa) / SGX_PAGE + 1];
}

bool is_outside(const void *start, uint64_t size)
{
	uint64_t from = (uint64_t)start, elrange = (uint64_t)enclave_base, needed = enclave_end - enclave_base, length = SGX_PAGE;

	needed += (enclave_heap_pages + enclave_spare_pages) * SGX_PAGE;
	while (length < needed)
		length *= 2;
	return (from || !size) && from + size >= from && (from + size <= elrange || from >= elrange + length);
}

/* What the host gave at EENTER: everything written there is for it to see. */
static struct sgx_call *call_of(const struct thread *thread)
{
	if (!is_outside(thread->call, sizeof(*thread->call)))
		__builtin_trap();
	return thread->call;
}

bool notify_of_aex(struct thread *thread, bool wanted)
{
	if (!(ATTRIBUTES & ATTRIBUTE_AEXNOTIFY))
		return false;
	thread->notify = wanted;
	*(volatile uint8_t *)&ssa_gpr(thread)->aexnotify = wanted;
	return true;
}

__attribute__((weak)) void enclave_notified(const struct ssa_gpr *gpr)
{
	(void)gpr;
}

/* What the frame of an interrupted thread says while its handler is in an OCALL: no processor writes that at an AEX. */
#define EXITINFO_IN_OCALL (1u << 16)

/* Nobody is notified at the door: RSP is the host's there, and what is interrupted could not go on. */
uint64_t ocall(struct thread *thread, uint64_t number, void *argument)
{
	struct sgx_call *call = call_of(thread);
	struct ssa_gpr *interrupted = thread->cssa ? frame(thread, thread->cssa - 1) : NULL;
	uint32_t exitinfo = interrupted ? interrupted->exitinfo : 0;
	bool notify = thread->notify;

	call->exit = EXIT_OCALL;
	call->ocall = number;
	call->ocall_argument = (uint64_t)argument;
	notify_of_aex(thread, false);
	if (interrupted)
		interrupted->exitinfo = EXITINFO_IN_OCALL;
	leave_for_ocall(thread, call_word(EXIT_OCALL, number));
	if (interrupted)
		interrupted->exitinfo = exitinfo;
	notify_of_aex(thread, notify);
	return call->ocall_result;
}

void *allocate_untrusted(struct thread *thread, uint64_t size, bool visible)
{
	uint64_t start = (thread->exit_rsp - size) & -16;

	if (!is_outside((void *)start, size))
		__builtin_trap();
	thread->exit_rsp = start;
	if (visible)
		ssa_gpr(thread)->ursp = thread->exit_rsp;
	return (void *)thread->exit_rsp;
}

/* Of the ECALLs that have left this stack for an OCALL, the outermost so many go on; leave_for_ocall() chains them. */
static void keep_ocalls(struct thread *thread, uint64_t kept)
{
	uint64_t calls = 0;

	for (uint64_t sp = thread->last_sp; sp; sp = *(uint64_t *)sp)
		calls++;
	for (; calls > kept; calls--)
		thread->last_sp = *(uint64_t *)thread->last_sp;
}

/*
 * The host gives up a call: down to `cssa`, and there to `kept` ECALLs.  One frame at a time is given up by EDECCSSA, and
 * with it what its stack was used for.
 */
static uint64_t reset(struct thread *thread, uint64_t cssa, uint64_t kept)
{
	if (thread->cssa > cssa) {
		sgx_enclu(EDECCSSA, NULL, 0);
		thread--;
	}
	if (thread->cssa == cssa)
		keep_ocalls(thread, kept);
	else if (thread->cssa > cssa)
		thread->last_sp = 0;
	return thread->cssa;
}

/* An entry of .rela.dyn. */
struct relocation {
	uint64_t offset, type, addend;
};
#define R_X86_64_RELATIVE 8	/* the only one, besides entries that the linker has not used */

extern const struct relocation enclave_relocations[], enclave_relocations_end[];

/*
 * Gives pointers in data the base, and stacks the word that guards them.  Threads that do it at once do the same, and
 * have the word of the first of them.
 */
static void initialize(void)
{
	static bool done;
	uint64_t *guard = (uint64_t *)(enclave_tls + 0x28), none = 0, word;

	if (__atomic_load_n(&done, __ATOMIC_ACQUIRE))
		return;
	for (const struct relocation *r = enclave_relocations; r < enclave_relocations_end; r++)
		if (r->type == R_X86_64_RELATIVE)
			*(uint64_t *)(enclave_base + r->offset) = (uint64_t)enclave_base + r->addend;
	sgx_random(&word, sizeof(word));
	__atomic_compare_exchange_n(guard, &none, word, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
	__atomic_store_n(&done, true, __ATOMIC_RELEASE);
}

/* Each exception is handled once: the host may ask again before it resumes, and also when there was none. */
static bool handle(const struct thread *thread)
{
	struct ssa_gpr *gpr = frame(thread, thread->cssa - 1);

	if (!(gpr->exitinfo & EXITINFO_VALID) || !enclave_exception(gpr, (struct ssa_exinfo *)gpr - 1))
		return false;
	gpr->exitinfo &= ~EXITINFO_VALID;
	return true;
}

/*
 * What goes to RDI at EEXIT; 0: the OCALL under way goes on.  At a CSSA greater than 0 there are ECALLs only in OCALLs of
 * the exception's handler, for what is interrupted may be anywhere.
 */
uint64_t trusted_enter(struct thread *thread)
{
	struct sgx_call *call = call_of(thread);
	uint64_t enter = *(volatile uint64_t *)&call->enter, function = CALL_UNTOLD, why = EXIT_DONE;

	/* Resumed instead, and interrupted elsewhere since: the handler that was in an OCALL is no more. */
	if (thread->cssa && frame(thread, thread->cssa - 1)->exitinfo != EXITINFO_IN_OCALL)
		thread->last_sp = 0;
	if (enter == ENTER_ORET && thread->last_sp)
		return 0;
	initialize();
	notify_of_aex(thread, false);
	if (enter == ENTER_ECALL && (!thread->cssa || thread->last_sp)) {
		function = *(volatile uint64_t *)&call->function;
		call->result = enclave_main(thread, function, (void *)call->argument);
	} else if (enter == ENTER_RESET) {
		uint64_t wanted = *(volatile uint64_t *)&call->argument;

		call->result = reset(thread, wanted >> 32, wanted & 0xffffffff);
	} else if (enter == ENTER_EXCEPTION) {
		call->result = thread->cssa && handle(thread);
	} else {
		why = EXIT_REFUSED;
	}
	call->exit = why;
	notify_of_aex(thread, false);
	return call_word(why, function);
}
