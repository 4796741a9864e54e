/* Entering the enclave by an ENCLU of the program's own, and telling what came of it. */
#include "conform.h"

struct transition transition;
struct state_at_entry state_at_entry;
void raw_enter(void);
void raw_recover(void);
void outside_call(void);
void signal_restorer(void);

uint8_t left_state[2 * PAGE] __attribute__((aligned(64)));
static struct outcome caught;
static volatile uint32_t *interrupts_once; /* is not 0 */
static long delay; /* microseconds until the next try */

static void start_timer(void)
{
	struct itimerval timer = { 0, 0, delay / 1000000, delay % 1000000 };

	call3(SYS_SETITIMER, 0, (long)&timer, 0);
}

/* asm/sigcontext.h: struct _fpx_sw_bytes, in what FXSAVE leaves free */
static void keep_state(const uint8_t *state)
{
	struct { uint32_t magic, extended_size; uint64_t xfeatures; uint32_t xstate_size; } software;

	fill(left_state, 0, sizeof(left_state));
	copy(&software, state + 464, sizeof(software));
	if (software.magic != 0x46505853)
		software.xstate_size = 512;
	copy(left_state, state, software.xstate_size < sizeof(left_state) ? software.xstate_size : sizeof(left_state));
}

void signal_handler(int signo, struct siginfo *info, struct ucontext *context);
void on_signal(int signo, struct siginfo *info, struct ucontext *context);

void on_signal(int signo, struct siginfo *info, struct ucontext *context)
{
	struct sigcontext *at = &context->mcontext;

	if (signo == SIGALRM && (!interrupts_once || !*interrupts_once || at->rip != (uint64_t)raw_aep)) {
		delay *= 2; /* a busy machine must get further in between */
		start_timer();
		return;
	}
	caught = (struct outcome){
		.how = at->rip == (uint64_t)raw_aep ? AEX : FAULTED, .vector = (uint32_t)at->trapno, .error = (uint32_t)at->err,
		.signo = signo, .code = info->si_code, .where = info->si_addr, .rip = at->rip,
		.registers = { at->rax, at->rcx, at->rdx, at->rbx, at->rsp, at->rbp, at->rsi, at->rdi, at->r8, at->r9, at->r10,
			       at->r11, at->r12, at->r13, at->r14, at->r15, at->rflags },
	};
	if (caught.vector == PF)
		caught.address = at->cr2;
	if (at->fpstate) {
		copy(caught.fxsave, (const void *)at->fpstate, sizeof(caught.fxsave));
		keep_state((const uint8_t *)at->fpstate);
	}
	transition.how = 1;
	at->rip = (uint64_t)raw_recover;
	at->rflags = 2;
}

void prepare_signals(void)
{
	static const int signals[] = { SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV, SIGALRM };
	struct sigaction action = { signal_handler, SA_SIGINFO | SA_NODEFER | SA_ONSTACK | SA_RESTORER, signal_restorer, 0 };

	for (unsigned int i = 0; i < COUNT(signals); i++)
		call6(SYS_RT_SIGACTION, signals[i], (long)&action, 0, 8, 0, 0);
}

static struct outcome finish(void (*how)(void))
{
	caught = (struct outcome){ .how = EXITED };
	how();
	__asm__ volatile("fninit");
	if (!transition.how)
		caught.registers = transition.out;
	return caught;
}

struct outcome enclu(const struct registers *in)
{
	transition.in = *in;
	if (state_at_entry.image)
		load_state(state_at_entry.image, state_at_entry.components);
	return finish(raw_enter);
}

struct outcome outside(uint64_t code, struct registers *registers)
{
	struct outcome outcome;

	transition.in = *registers;
	transition.how = code;
	outcome = finish(outside_call);
	*registers = transition.out;
	return outcome;
}

struct outcome enter(uint64_t tcs, struct request *request, enum leaf leaf)
{
	struct registers in = { .rax = leaf, .rbx = tcs, .rcx = (uint64_t)raw_aep, .rdi = (uint64_t)request, .rflags = 2 };

	return enclu(&in);
}

struct outcome run_code(uint64_t code, struct request *request)
{
	request->code = place(code);
	request->in.rflags |= 2;
	return enter(place(TCS0), request, EENTER);
}

struct request example(void)
{
	struct request request = { .in = { .rflags = 2 } };

	for (unsigned int n = 0; n < 16; n++)
		GPR(&request.in, n) = 0x1111111111111111ull * n + 7;
	return request;
}

/* "EEXIT", "EENTER: #GP", "AEX: #PF 0x8005 at page_rw+0x8" */
void say_outcome(const struct outcome *outcome)
{
	static const char *const vectors[] = {
		[DE] = "#DE", [DB] = "#DB", [BP] = "#BP", [UD] = "#UD", [NM] = "#NM", [SS_FAULT] = "#SS", [GP] = "#GP",
		[PF] = "#PF", [MF] = "#MF", [AC] = "#AC", [XM] = "#XM",
	};
	static const char *const leaves[] = { "EREPORT", "EGETKEY", "EENTER", "ERESUME", "EEXIT", "EACCEPT", "EMODPE",
					      "EACCEPTCOPY", "EVERIFYREPORT2", "EDECCSSA" };
	const char *name = outcome->vector < COUNT(vectors) ? vectors[outcome->vector] : NULL;

	if (outcome->how == EXITED) {
		say("EEXIT");
		return;
	}
	if (outcome->how == AEX)
		say("AEX: ");
	else if (outcome->rip == (uint64_t)raw_enclu && outcome->registers.rax < COUNT(leaves))
		say("%s: ", leaves[outcome->registers.rax]);
	if (name)
		say("%s", name);
	else
		say("vector %d", (uint64_t)outcome->vector);
	if (outcome->vector == PF)
		say(" %x at %a", (uint64_t)outcome->error, outcome->address);
	else if (outcome->error)
		say(" %x", (uint64_t)outcome->error);
}

void must_exit(const struct outcome *outcome, const char *what)
{
	if (outcome->how == EXITED)
		return;
	say("%s: ", what);
	say_outcome(outcome);
	end_case(OBSERVED);
}

struct outcome try_inside(enum leaf leaf, uint64_t rbx, uint64_t rcx, uint64_t rdx)
{
	struct request request = { .in = { .rax = leaf, .rbx = rbx, .rcx = rcx, .rdx = rdx } };
	struct outcome outcome = run_code(AT_enclu, &request);

	if (outcome.how == EXITED)
		outcome.registers = request.out;
	return outcome;
}

uint64_t enclu_inside(enum leaf leaf, uint64_t rbx, uint64_t rcx, uint64_t rdx)
{
	struct outcome outcome = try_inside(leaf, rbx, rcx, rdx);

	must_exit(&outcome, "ENCLU inside");
	return outcome.registers.rax;
}

static void copy_by_enclave(uint64_t to, uint64_t from, uint64_t size)
{
	struct request request = { .in = { .rdi = to, .rsi = from, .rcx = size } };
	struct outcome outcome = run_code(AT_copy, &request);

	must_exit(&outcome, "a copy by the enclave");
}

void copy_in(uint64_t to, const void *from, uint64_t size)
{
	copy_by_enclave(to, (uint64_t)from, size);
}

void copy_out(void *to, uint64_t from, uint64_t size)
{
	copy_by_enclave((uint64_t)to, from, size);
}

uint64_t secinfo_inside(uint64_t flags)
{
	struct secinfo secinfo = { .flags = flags };

	copy_in(place(OPERAND), &secinfo, sizeof(secinfo));
	return place(OPERAND);
}

uint64_t accept(uint64_t offset, uint64_t flags)
{
	return enclu_inside(EACCEPT, secinfo_inside(flags), place(offset), 0);
}

uint64_t ssa_of(unsigned int cssa)
{
	return place(SSA) + (uint64_t)cssa * SSA_FRAME_PAGES * PAGE;
}

/* Read by the enclave, one frame up: what is in its memory no one else sees. */
void frame_of(unsigned int cssa, struct gprsgx *gprsgx, struct exinfo *exinfo)
{
	uint64_t end = ssa_of(cssa + 1);

	copy_out(gprsgx, end - sizeof(*gprsgx), sizeof(*gprsgx));
	if (exinfo)
		copy_out(exinfo, end - sizeof(*gprsgx) - sizeof(*exinfo), sizeof(*exinfo));
}

/* An interrupt of the enclave: the program takes over at the AEP, once the enclave has said that it is where it is to be. */
void interrupt(long microseconds, volatile uint32_t *once)
{
	interrupts_once = once;
	delay = microseconds;
	start_timer();
}
