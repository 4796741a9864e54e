/*
 * The proof enclave: what a sweep and an audit are to find, or not to find.  It is sound but for the weaknesses that it is
 * built with; each is a macro, which is 0 or 1.  ECALLs are those of enclave.edl.
 */
#include "edmm.h"

#include <string.h>

enum { SUM, SUM_OUTSIDE, COPY, COMPUTE, RANDOM, TICKS, RATIO, RATIO_X87, DIVIDE, UNDEFINED, UNEXPECTED, SPIN, ASK, INNER,
       RELAY, LOOK_UP, NOTIFIED, KEEP, NR_ECALLS };
enum { ANSWER, RECEIVE, LOCATE, NR_OCALLS };
enum { DE = 0, UD = 6, PF = 14 };
#define SPARE 0x10000ul		/* addresses behind the image, as protocol.S has them */
#define MOST 1024ul		/* bytes of a buffer */
#define HANDLER_ROOM 0x800ul	/* of the stack that was interrupted */

/* What edger8r would make of enclave.edl; a result comes first. */
struct ms_sum { uint64_t retval; const uint32_t *values; uint64_t n; };
struct ms_copy { const void *source; void *to; uint64_t n; };
struct ms_compute { uint64_t retval, seed; uint32_t rounds; };
struct ms_ratio { double retval; int a, b; };
struct ms_ints { int retval, a, b; };
struct ms_pointer { int retval; const void *address; };
struct ms_key { uint64_t retval, key; };
struct ms_receive { uint64_t retval; void *to; uint64_t n; };
union ms {
	uint64_t result;
	struct ms_sum sum;
	struct ms_copy copy;
	struct ms_compute compute;
	struct ms_ratio ratio;
	struct ms_ints ints;
	struct ms_pointer pointer;
	struct ms_key key;
};
static const uint8_t ms_sizes[] = {
	[SUM] = sizeof(struct ms_sum), [SUM_OUTSIDE] = sizeof(struct ms_sum), [COPY] = sizeof(struct ms_copy),
	[COMPUTE] = sizeof(struct ms_compute), [RANDOM] = sizeof(uint64_t), [TICKS] = sizeof(uint64_t),
	[RATIO] = sizeof(struct ms_ratio), [RATIO_X87] = sizeof(struct ms_ratio), [DIVIDE] = sizeof(struct ms_ints),
	[UNDEFINED] = 2 * sizeof(int), [UNEXPECTED] = sizeof(struct ms_pointer), [SPIN] = sizeof(struct ms_pointer),
	[ASK] = sizeof(struct ms_key), [INNER] = sizeof(struct ms_key), [RELAY] = sizeof(struct ms_key),
	[LOOK_UP] = sizeof(struct ms_key), [NOTIFIED] = sizeof(uint64_t),
	[KEEP] = sizeof(struct ms_key),
};

static struct { uint64_t nr_ecall; struct { uint64_t address, private; } table[NR_ECALLS]; } g_ecall_table = {
	NR_ECALLS, { [INNER] = { 0, 1 } },
};
static struct { uint64_t nr_ocall; uint8_t allowed[NR_OCALLS][NR_ECALLS]; } g_dyn_entry_table = {
	NR_OCALLS, { [ANSWER] = { [INNER] = 1 } },
};
extern uint64_t enclave_secret;
extern uint8_t divide_at[], undefined_at[];
int divide(int a, int b);
int undefined(int value);
int unexpected(const void *address);
static enum { LOADED, INITIALIZED } state;

bool is_outside(const void *start, uint64_t size)
{
	uint64_t from = (uint64_t)start, elrange = (uint64_t)enclave_base, needed = enclave_end - enclave_base + SPARE;

	return from + size >= from && (from + size <= elrange || from >= elrange + (1ul << (64 - __builtin_clzl(needed - 1))));
}

/* Whether a pointer that came from outside may be followed. */
static bool acceptable(const void *start, uint64_t size)
{
	return (start || POINTER_NULL) && is_outside(start, POINTER_STRADDLES ? 1 : size);
}

/* Nobody is notified at the door: RSP is the host's there, and what is interrupted could not go on. */
static void notify(bool wanted)
{
	trusted_thread()->notify = wanted;
	if (ATTRIBUTES & ATTRIBUTE_AEXNOTIFY)
		*(volatile uint8_t *)&interrupted()->aexnotify = wanted;
}

static uint32_t call_host(uint32_t number, void *ms)
{
	uint32_t status;

	notify(false);
	status = make_ocall(number, ms);
	notify(true);
	return status;
}

void *allocate_outside(size_t size)
{
	uint64_t top = interrupted()->ursp;

	if (!is_outside((void *)((top - size) & -16ul), size + 16))
		__builtin_trap();
	return sgx_ocalloc(size);
}

static uint64_t total(const void *values, uint64_t n, uint64_t size)
{
	uint64_t sum = 0;

	for (uint64_t i = 0; i < n; i++)
		sum += size == 1 ? ((const volatile uint8_t *)values)[i] : ((const volatile uint32_t *)values)[i];
	return sum;
}

/* `ms` is the enclave's own, a copy, but with DOUBLE_FETCH. */
static uint32_t sum(volatile struct ms_sum *ms)
{
	uint32_t values[MOST / sizeof(uint32_t)];

	if (ms->n > MOST / sizeof(uint32_t))
		return SGX_ERROR_OUT_OF_MEMORY;
	if (ms->n && !POINTER_INSIDE && !acceptable(ms->values, ms->n * sizeof(uint32_t)))
		return SGX_ERROR_INVALID_PARAMETER;
	for (uint64_t i = 0; i < ms->n; i++)
		values[i] = ((const volatile uint32_t *)ms->values)[i];
	ms->retval = total(values, ms->n, sizeof(*values));
	return SGX_SUCCESS;
}

static uint32_t sum_outside(struct ms_sum *ms)
{
	if (ms->n > UINT64_MAX / sizeof(uint32_t) || !acceptable(ms->values, ms->n * sizeof(uint32_t)))
		return SGX_ERROR_INVALID_PARAMETER;
	ms->retval = total(ms->values, ms->n, sizeof(*ms->values));
	return SGX_SUCCESS;
}

static uint32_t copy(const struct ms_copy *ms)
{
	uint8_t buffer[MOST];

	if (ms->n > sizeof(buffer))
		return SGX_ERROR_OUT_OF_MEMORY;
	if (ms->n && (!acceptable(ms->source, ms->n) || !acceptable(ms->to, ms->n)))
		return SGX_ERROR_INVALID_PARAMETER;
	memcpy(buffer, ms->source, ms->n);
	memcpy(ms->to, buffer, ms->n);
	return SGX_SUCCESS;
}

/* Some eleven instructions a round. */
static uint64_t compute(uint64_t number, uint32_t rounds)
{
	while (rounds--) {
		number ^= number << 13;
		number ^= number >> 7;
		number ^= number << 17;
	}
	return number;
}

static uint32_t random(uint64_t *result)
{
	uint8_t given = 0;

	for (int i = 0; i < 10 && !given; i++)
		__asm__ volatile("rdrand %0; setc %1" : "=r"(*result), "=qm"(given) : : "cc");
	return given ? SGX_SUCCESS : SGX_ERROR_UNEXPECTED;
}

static uint64_t ticks(void)
{
	uint32_t low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
	return (uint64_t)high << 32 | low;
}

static void ratio(struct ms_ratio *ms)
{
	__asm__("cvtsi2sdl %1, %%xmm0; cvtsi2sdl %2, %%xmm1; divsd %%xmm1, %%xmm0; movsd %%xmm0, %0"
		: "=m"(ms->retval) : "m"(ms->a), "m"(ms->b));
}

static void ratio_x87(struct ms_ratio *ms)
{
	__asm__("fildl %1; fidivl %2; fstpl %0" : "=m"(ms->retval) : "m"(ms->a), "m"(ms->b));
}

static uint32_t spin(struct ms_pointer *ms)
{
	const volatile uint32_t *flag = ms->address;

	if (!acceptable(ms->address, sizeof(*flag)))
		return SGX_ERROR_INVALID_PARAMETER;
	do
		ms->retval = *flag;
	while (!ms->retval);
	return SGX_SUCCESS;
}

/* What the host answers is only added to. */
static uint32_t ask(struct ms_key *ms)
{
	struct ms_key *asked = allocate_outside(sizeof(*asked));

	asked->key = ms->key;
	if (call_host(ANSWER, asked))
		return SGX_ERROR_UNEXPECTED;
	ms->retval = asked->retval + ms->key;
	return SGX_SUCCESS;
}

/* The host says how much it has written. */
static uint32_t relay(struct ms_key *ms)
{
	uint64_t n = ms->key, given;
	struct ms_receive *asked;
	uint8_t buffer[MOST];
	void *to;

	if (n > sizeof(buffer))
		return SGX_ERROR_OUT_OF_MEMORY;
	to = allocate_outside(n);
	asked = allocate_outside(sizeof(*asked));
	*asked = (struct ms_receive){ 0, to, n };
	if (call_host(RECEIVE, asked))
		return SGX_ERROR_UNEXPECTED;
	given = *(volatile uint64_t *)&asked->retval;
	if (given > n && !OCALL_RESULT_UNCHECKED)
		return SGX_ERROR_UNEXPECTED;
	memcpy(buffer, to, given);
	ms->retval = total(buffer, given, 1);
	return SGX_SUCCESS;
}

/* The host says where it is. */
static uint32_t look_up(struct ms_key *ms)
{
	struct ms_key *asked = allocate_outside(sizeof(*asked));
	const volatile uint64_t *place;

	asked->key = ms->key;
	if (call_host(LOCATE, asked))
		return SGX_ERROR_UNEXPECTED;
	place = (const volatile uint64_t *)*(volatile uint64_t *)&asked->retval;
	if (!OCALL_RESULT_UNCHECKED && !acceptable((const void *)place, sizeof(*place)))
		return SGX_ERROR_UNEXPECTED;
	ms->retval = *place;
	return SGX_SUCCESS;
}

/* A page is added, written, and can only be read from then on, until it is given back. */
static uint32_t keep(struct ms_key *ms)
{
	volatile uint64_t *page = (volatile uint64_t *)enclave_end;

	if (add_pages((uint64_t)page, 1))
		return SGX_ERROR_OUT_OF_MEMORY;
	*page = ms->key;
	if (protect_page((uint64_t)page) && !EACCEPT_UNCHECKED)
		return SGX_ERROR_UNEXPECTED;
	ms->retval = *page;
	if (remove_page((uint64_t)page) && !EACCEPT_UNCHECKED)
		return SGX_ERROR_UNEXPECTED;
	return SGX_SUCCESS;
}

static uint32_t serve(int number, union ms *ms, union ms *outside)
{
	uint32_t status;

	switch (number) {
	case SUM:
		return sum(DOUBLE_FETCH ? &outside->sum : &ms->sum);
	case SUM_OUTSIDE:
		return sum_outside(&ms->sum);
	case COPY:
		return copy(&ms->copy);
	case COMPUTE:
		ms->result = compute(ms->compute.seed, ms->compute.rounds);
		return SGX_SUCCESS;
	case RANDOM:
		return random(&ms->result);
	case TICKS:
		ms->result = ticks();
		return SGX_SUCCESS;
	case RATIO:
		ratio(&ms->ratio);
		return SGX_SUCCESS;
	case RATIO_X87:
		ratio_x87(&ms->ratio);
		return SGX_SUCCESS;
	case DIVIDE:
		ms->ints.retval = divide(ms->ints.a, ms->ints.b);
		return SGX_SUCCESS;
	case UNDEFINED:
		ms->ints.retval = undefined(ms->ints.a);
		return SGX_SUCCESS;
	case UNEXPECTED:
		if ((uint64_t)ms->pointer.address < SGX_PAGE || !is_outside(ms->pointer.address, sizeof(uint64_t)))
			return SGX_ERROR_INVALID_PARAMETER;
		ms->pointer.retval = unexpected(ms->pointer.address);
		return SGX_SUCCESS;
	case SPIN:
		return spin(&ms->pointer);
	case ASK:
		return ask(&ms->key);
	case INNER:
		ms->result = ~ms->key.key;
		return SGX_SUCCESS;
	case RELAY:
		return relay(&ms->key);
	case LOOK_UP:
		return look_up(&ms->key);
	case NOTIFIED:
		ms->result = trusted_thread()->counter;
		return SGX_SUCCESS;
	case KEEP:
		notify(false);
		status = keep(&ms->key);
		notify(true);
		return status;
	}
	return SGX_ERROR_INVALID_FUNCTION;
}

/* The structure is copied before anything in it is looked at. */
static uint32_t ecall(int number, union ms *outside)
{
	union ms ms;
	uint32_t status;

	if (!outside || !is_outside(outside, ms_sizes[number]))
		return SGX_ERROR_INVALID_PARAMETER;
	memcpy(&ms, outside, ms_sizes[number]);
	status = serve(number, &ms, outside);
	if (!status && !(number == SUM && DOUBLE_FETCH))
		memcpy(outside, &ms, sizeof(ms.result));
	return status;
}

/* What the processor can do, which the host tells, is of no use to the enclave. */
static uint32_t initialize(void)
{
	typeof(state) before = LOADED;

	return __atomic_compare_exchange_n(&state, &before, INITIALIZED, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)
		? SGX_SUCCESS : SGX_ERROR_UNEXPECTED;
}

/* In an OCALL only ECALLs that the interface allows there; private ones nowhere else. */
static bool allowed(int number)
{
	uint32_t ocall = trusted_thread()->ocall;

	return ocall ? DURING_OCALLS || g_dyn_entry_table.allowed[ocall - 1][number]
		     : PRIVATE_FROM_ROOT || !g_ecall_table.table[number].private;
}

uint32_t trts_enter(int command, union ms *ms, uint64_t tcs)
{
	uint32_t status;

	trusted_thread()->tcs = tcs;
	if (command == ECMD_INIT_ENCLAVE)
		return initialize();
	if (command < 0 || (!BEFORE_INIT && __atomic_load_n(&state, __ATOMIC_ACQUIRE) != INITIALIZED))
		return SGX_ERROR_UNEXPECTED;
	if ((uint64_t)command >= g_ecall_table.nr_ecall)
		return SGX_ERROR_INVALID_FUNCTION;
	if (!allowed(command))
		return SGX_ERROR_ECALL_NOT_ALLOWED;
	notify(true);
	status = ecall(command, ms);
	notify(false);
	return status;
}

/*
 * Whether it was the enclave itself that ran on its own stack.  It was the host's RSP at the door, which may lead there,
 * too.  SDK: trts_handle_exception(), where the last two conditions are new in 2.14 (CVE-2021-0186).
 */
static bool had_its_stack(const struct ssa_gpr *saved)
{
	const struct trusted_thread *self = trusted_thread();

	return saved->rsp > self->stack_base - STACK_SIZE + HANDLER_ROOM && saved->rsp <= self->stack_base &&
	       (OLD_ORDER || (is_outside((void *)saved->ursp, 1) && saved->ursp != saved->rsp));
}

/* An exception that the enclave can do something about. */
static bool expected(const struct ssa_gpr *saved)
{
	const struct ssa_exinfo *exinfo = (const struct ssa_exinfo *)saved - 1;

	switch (saved->exitinfo & EXITINFO_VECTOR) {
	case DE:
		return saved->rip == (uint64_t)divide_at;
	case UD:
		return saved->rip == (uint64_t)undefined_at;
	case PF: /* the host has taken a page of the enclave away, and by now perhaps given it back */
		return !is_outside((void *)exinfo->address, 1);
	}
	return ACCEPTS_ANY_VECTOR;
}

/* The second phase, at CSSA 0 on the stack that was interrupted. */
static void handle(struct context *context, uint32_t vector)
{
	if (vector == UD) {
		context->rip += 2;
	} else if (vector != PF) {
		context->rax = -1;
		context->rip += 3;
	}
	trusted_thread()->exceptions--;
	continue_execution(context);
}

#if GIVES_UP_CALLS
extern uint8_t given_up[];

/*
 * A handler that has been interrupted itself takes what it was to handle for hopeless, and the call for done.  The frame of
 * CSSA 1 has no RIP until then.
 */
static bool gives_up(struct ssa_gpr *saved)
{
	struct ssa_gpr *own = (struct ssa_gpr *)((uint8_t *)saved + SGX_PAGE);

	if (!own->rip)
		return false;
	own->rip = 0;
	saved->rip = (uint64_t)given_up;
	saved->rsp = trusted_thread()->stack_base - 4 * sizeof(uint64_t);
	return true;
}
#endif

/* The first phase, at CSSA 1. */
uint32_t trts_exception(int command)
{
	struct ssa_gpr *saved = interrupted();
	bool valid = saved->exitinfo & EXITINFO_VALID;

	if (command != ECMD_EXCEPT)
		return SGX_ERROR_UNEXPECTED;
	if (!had_its_stack(saved))
		return SGX_ERROR_STACK_OVERRUN;
#if GIVES_UP_CALLS
	if (gives_up(saved))
		return SGX_SUCCESS;
#endif
	if (valid ? !expected(saved) : !ACCEPTS_INVALID_EXITINFO)
		return SGX_ERROR_ENCLAVE_CRASHED;
	if (state != INITIALIZED || (trusted_thread()->exceptions && !REENTERS_HANDLER))
		return SGX_ERROR_ENCLAVE_CRASHED;
	trusted_thread()->exceptions++;
	run_when_resumed(saved, handle);
	saved->rflags &= ~0x44400ul;	/* DF, AC and NT, should it have been interrupted at the door */
	return SGX_SUCCESS;
}

#if ATTRIBUTES & ATTRIBUTE_AEXNOTIFY
/*
 * At CSSA 1, when a thread is resumed that wants to know: what is to go on, or NULL if there is nobody who does.  As
 * Intel's mitigation does, it has the pages at hand that the next instruction needs, its code and its stack.
 */
struct context *trts_notified(void)
{
	struct ssa_gpr *saved = interrupted();
	volatile uint8_t *top;

	if (!saved->aexnotify || !had_its_stack(saved))
		return NULL;
	*(volatile uint8_t *)&saved->aexnotify = 0;
	trusted_thread()->counter++;
	top = (volatile uint8_t *)saved->rsp;
	*top = *top;
	(void)*(volatile uint8_t *)saved->rip;
	return keep_interrupted(saved);
}
#endif
