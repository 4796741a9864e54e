/* What is outside after each kind of AEX, and the registers in the SSA: every event of events.h, and an interrupt. */
#include "events.h"

#define SYNTHETIC_SAYS "SDM 3D table 37-1"
#define STATE_SAYS "SDM 3D 37.3.2"
static const uint64_t set_before = ARITHMETIC | DF | RFLAGS_ID;
static const struct event by_interrupt = { .name = "an interrupt", .changed = 1 << 6 | 1 << 7 };
static volatile uint32_t running, go_on;

static struct outcome leave(const struct event *event, struct request *request, struct options options)
{
	*request = example();
	request->in.rflags |= set_before;
	if (event != &by_interrupt)
		return raise(event, request, options);
	load(options);
	request->in.rdi = (uint64_t)&running;
	request->in.rsi = (uint64_t)&go_on;
	interrupt(10000, &running);
	return run_code(AT_spin, request);
}

static void say_ways(const struct event *event)
{
	struct request request;
	struct outcome outcome = leave(event, &request, (struct options){ 0 });

	say("%d, %a, %s, %s", outcome.registers.rax, outcome.registers.rbx,
	    outcome.registers.rcx == (uint64_t)raw_aep ? "the AEP" : "something else",
	    outcome.rip == (uint64_t)raw_aep ? "the AEP" : "something else");
}

static void say_others(const struct event *event)
{
	struct request request;
	struct outcome outcome = leave(event, &request, (struct options){ 0 });

	for (unsigned int n = 0; n < 16; n++)
		if ((n == 2 || n > 5) && GPR(&outcome.registers, n)) {
			say("register %d is %a", (uint64_t)n, GPR(&outcome.registers, n));
			return;
		}
	say("0");
}

static void say_stack(const struct event *event)
{
	struct request request;
	struct outcome outcome = leave(event, &request, (struct options){ 0 });

	say("%s", outcome.registers.rsp == transition.in.rsp && outcome.registers.rbp == transition.in.rbp ? "as at EENTER" : "changed");
}

static void say_flags(const struct event *event)
{
	struct request request;
	struct outcome outcome = leave(event, &request, (struct options){ 0 });

	say("%x", outcome.registers.rflags & (ARITHMETIC | DF | RFLAGS_ID | TF | RF));
}

/* RSP is where the stacks are; CALL has pushed an address. */
static void say_saved(const struct event *event)
{
	struct request request;
	struct gprsgx gprsgx;
	uint64_t offset, flags = set_before & ~(event == &by_interrupt ? ARITHMETIC : 0); /* which the loop's CMP sets */

	leave(event, &request, (struct options){ 0 });
	frame_of(0, &gprsgx, NULL);
	for (unsigned int n = 0; n < 16; n++)
		if (n != 4 && GPR(&gprsgx.registers, n) != GPR(&request.in, n)) {
			say("register %d is %a", (uint64_t)n, GPR(&gprsgx.registers, n));
			return;
		}
	if (!same_text(name_of(gprsgx.registers.rsp, &offset), "stacks"))
		say("RSP is elsewhere");
	else
		say("%s", (gprsgx.registers.rflags & flags) == flags ? "as at the instruction" : "other flags");
}

/* Extended state: `components` are not initial when the enclave is entered, which has `xfrm`. */
static void leave_with_state(const struct event *event, uint64_t components, uint64_t xfrm)
{
	struct request request;

	need_xfrm(components | xfrm);
	state_at_entry = (struct state_at_entry){ state_image(components), components };
	leave(event, &request, (struct options){ .xfrm = xfrm });
}

static uint64_t number_at(const uint8_t *at, unsigned int size)
{
	uint64_t number = 0;

	copy(&number, at, size);
	return number;
}

static void say_x87(const struct event *event)
{
	leave_with_state(event, 3, 3);
	say("FCW %x, FSW %x, FTW %x", number_at(left_state, 2), number_at(left_state + 2, 2), number_at(left_state + 4, 1));
}

static void say_mxcsr(const struct event *event)
{
	leave_with_state(event, 3, 3);
	say("%x", number_at(left_state + 24, 4));
}

/* Whether the components are initial, which is all zero, or as they were before. */
static void say_components(uint64_t components)
{
	const uint8_t *before = state_at_entry.image;
	uint64_t in_use = number_at(left_state + 512, 8) | 3, offset, size;
	int initial = 1, kept = 1;

	for (unsigned int n = 0; n < 10; n++) {
		if (!(components >> n & 1))
			continue;
		state_part(n, &offset, &size);
		kept &= in_use >> n & 1 && same(left_state + offset, before + offset, size);
		for (uint64_t i = 0; i < size && in_use >> n & 1; i++)
			initial &= !left_state[offset + i];
	}
	say("%s", initial ? "initial" : kept ? "as at EENTER" : "changed");
}

static void say_registers(const struct event *event)
{
	leave_with_state(event, 3, 3);
	say_components(3);
}

static void say_avx(const struct event *event)
{
	leave_with_state(event, 3 | STATE_AVX, 3 | STATE_AVX);
	say_components(STATE_AVX);
}

static void say_avx_outside(const struct event *event)
{
	leave_with_state(event, 3 | STATE_AVX, 3);
	say_components(STATE_AVX);
}

static void say_avx512(const struct event *event)
{
	leave_with_state(event, 7 | STATE_AVX512, 7 | STATE_AVX512);
	say_components(STATE_AVX512);
}

static void say_avx512_outside(const struct event *event)
{
	leave_with_state(event, 7 | STATE_AVX512, 7);
	say_components(STATE_AVX512);
}

static const struct {
	const char *name, *source, *expected;
	void (*say)(const struct event *event);
} facets[] = {
	{ "RAX is ERESUME, RBX the TCS, RCX and RIP the AEP", SYNTHETIC_SAYS, "3, tcs0, the AEP, the AEP", say_ways },
	{ "RDX, RSI, RDI and R8 to R15", SYNTHETIC_SAYS, "0", say_others },
	{ "RSP and RBP", SYNTHETIC_SAYS ": from SSA.uRSP and uRBP", "as at EENTER", say_stack },
	{ "RFLAGS: DF and ID stay", SYNTHETIC_SAYS "; 37.1", "0x200400", say_flags },
	{ "registers in the SSA", "SDM 3D 35.9 GPRSGX, 37.4", "as at the instruction", say_saved },
	{ "x87's words", SYNTHETIC_SAYS, "FCW 0x37f, FSW 0x0, FTW 0x0", say_x87 },
	{ "MXCSR", SYNTHETIC_SAYS, "0x1fb0", say_mxcsr },
	{ "x87 and XMM registers", SYNTHETIC_SAYS, "initial", say_registers },
	{ "AVX in XFRM", STATE_SAYS, "initial", say_avx },
	{ "AVX not in XFRM", STATE_SAYS ": when XFRM's bit is set", "as at EENTER", say_avx_outside },
	{ "AVX-512 in XFRM", STATE_SAYS, "initial", say_avx512 },
	{ "AVX-512 not in XFRM", STATE_SAYS ": when XFRM's bit is set", "as at EENTER", say_avx512_outside },
};

static const struct event *event_of(uint64_t number)
{
	return number < EVENTS ? &events[number] : &by_interrupt;
}

static void act(const struct claim *claim)
{
	facets[claim->b].say(event_of(claim->a));
}

static unsigned int counted(void)
{
	return (EVENTS + 1) * COUNT(facets);
}

static void make(unsigned int number, struct claim *claim)
{
	static char name[128];
	uint64_t n = number / COUNT(facets), facet = number % COUNT(facets);
	const struct event *event = event_of(n);
	const char *expected = facets[facet].expected;

	if (facets[facet].say == say_x87 && event->code == AT_x87)
		expected = "FCW 0x37e, FSW 0x8081, FTW 0x0";
	if (facets[facet].say == say_mxcsr && event->code == AT_simd)
		expected = "0x1f01";
	format_into(name, sizeof(name), "%s: %s", event->name, facets[facet].name);
	*claim = (struct claim){ name, facets[facet].source, expected, act, n, facet, 0, 0 };
}

const struct group after_aex_group = { .name = "after-aex", .about = "the synthetic state after each exception, and registers in the SSA",
	.make = make, .counted = counted };
