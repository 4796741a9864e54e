/* Exceptions in the enclave: what the program is told, and what the SSA frame has. */
#include "events.h"

#define EXITINFO_SAYS "SDM 3D 35.9.1.1 EXITINFO"
#define EXINFO_SAYS "SDM 3D 35.9.2.1 EXINFO"
#define AEX_SAYS "SDM 3D 37.4 AEX"

/*
 * After #MF and #XM the kernel finds the synthetic state, which is that of an invalid operation (SDM 3D 37.3.2):
 * FPE_FLTINV, 7.  There is no #BR: BOUND's opcode is EVEX's in 64-bit mode, and MPX's instructions need a bound directory
 * that Linux 5.6 and later do not enable.  #DB and #BP come after an opt-in entry only: cases_debug.c.
 */
const struct event events[] = {
	{ "#DE by DIV", "AEX: #DE", "SIGFPE 1", AT_div, AT_div, { 0 }, 0, "0x80000300", "0x80000300", "unchanged", "1", 1 << 1, 0 },
	{ "#UD by UD2", "AEX: #UD", "SIGILL 2", AT_ud2, AT_ud2, { 0 }, 0, "0x80000306", "0x80000306", "unchanged", "1", 0, 0 },
	{ "#UD by UD1", "AEX: #UD", "SIGILL 2", AT_ud1, AT_ud1, { 0 }, 0, "0x80000306", "0x80000306", "unchanged", "1", 0, 0 },
	{ "#UD by LOCK NOP", "AEX: #UD", "SIGILL 2", AT_lock_nop, AT_lock_nop, { 0 }, 0, "0x80000306", "0x80000306", "unchanged", "1", 0, 0 },
	{ "#UD by INTO", "AEX: #UD", "SIGILL 2", AT_into, AT_into, { 0 }, 0, "0x80000306", "0x80000306", "unchanged", "1", 0, 0 },
	{ "INT3 after an opt-out entry", "AEX: #UD", "SIGILL 2", AT_int3, AT_int3, { 0 }, 0, "0x80000306", "0x80000306", "unchanged", "1", 0, 0 },
	{ "#GP by HLT", "AEX: #GP", "SIGSEGV 128", AT_hlt, AT_hlt, { 0 }, 0, "0x0", "0x8000030d", "0x0, 0x0", "1", 0, 0 },
	{ "#GP by an address", "AEX: #GP", "SIGSEGV 128", AT_read, AT_read, { 0 }, 0x8000000000000000, "0x0", "0x8000030d", "0x0, 0x0", "1", 1 << 3, 0 },
	{ "#SS by an address", "AEX: #SS", "SIGBUS 128", AT_read_stack, AT_read_stack, { .rbp = 0x8000000000000000 }, 0, "0x0", "0x0", "unchanged", "1", 1 << 5, 0 },
	{ "#PF by a read", "AEX: #PF 0x4 at page_none", "SIGSEGV 2", AT_read, AT_read, { 0 }, PAGE_NONE + 0x123, "0x0", "0x8000030e", "page_none+0x123, 0x4", "1", 1 << 3, 0 },
	{ "#PF by a write", "AEX: #PF 0x7 at text", "SIGSEGV 2", AT_write, AT_write, { 0 }, TEXT + 0xff0, "0x0", "0x8000030e", "text+0xff0, 0x7", "1", 1 << 3, 0 },
	{ "#PF outside the enclave", "AEX: #PF 0x4 at 0x0", "SIGSEGV 1", AT_read, AT_read, { 0 }, ~0ull, "0x0", "0x8000030e", "0x10, 0x4", "1", 1 << 3, 0 },
	{ "#PF by the EPCM", "AEX: #PF 0x8005 at tcs1", "SIGSEGV 2", AT_read, AT_read, { 0 }, TCS1 + 8, "0x0", "0x8000030e", "tcs1+0x8, 0x8005", "1", 1 << 3, 0 },
	{ "#MF by FWAIT", "AEX: #MF", "SIGFPE 7", AT_x87, AT_x87_waits, { 0 }, OPERAND, "0x80000310", "0x80000310", "unchanged", "1", 1 << 3, 0 },
	{ "#AC", "AEX: #AC", "SIGBUS 1", AT_read, AT_read, { .rflags = RFLAGS_AC }, OPERAND + 1, "0x80000311", "0x80000311", "unchanged", "1", 1 << 3, 0 },
	{ "#XM by DIVSD", "AEX: #XM", "SIGFPE 7", AT_simd, AT_simd_divides, { 0 }, OPERAND + 8, "0x80000313", "0x80000313", "unchanged", "1", 1 << 3, 0 },
	{ "#UD by BOUND's opcode", "AEX: #UD", "SIGILL 2", AT_bound, AT_bound, { 0 }, 0, "0x80000306", "0x80000306", "unchanged", "1", 0, 0 },
	{ "INT1 after an opt-out entry", "AEX: #UD", "SIGILL 2", AT_int1, AT_int1, { 0 }, 0, "0x80000306", "0x80000306", "unchanged", "1", 0, 0 },
	{ "#PF by a fetch", "AEX: #PF 0x14 at page_none", "SIGSEGV 2", AT_call, PAGE_NONE + 0x123, { 0 }, PAGE_NONE + 0x123, "0x0", "0x8000030e", "page_none+0x123, 0x14", "1", 1 | 1 << 3, 0 },
	{ "#PF by a fetch of data", "AEX: #PF 0x15 at page_rw", "SIGSEGV 2", AT_call, PAGE_RW + 0x10, { 0 }, PAGE_RW + 0x10, "0x0", "0x8000030e", "page_rw+0x10, 0x15", "1", 1 | 1 << 3, 0 },
	{ "#PF by the EPCM, at a write to a TCS", "AEX: #PF 0x8007 at tcs1", "SIGSEGV 2", AT_write, AT_write, { 0 }, TCS1 + 8, "0x0", "0x8000030e", "tcs1+0x8, 0x8007", "1", 1 << 3, 0 },
	{ "#PF by the EPCM, at a write", "AEX: #PF 0x8007 at page_rwx", "SIGSEGV 2", AT_write, AT_write, { 0 }, PAGE_RWX + 0x20, "0x0", "0x8000030e", "page_rwx+0x20, 0x8007", "1", 1 << 3, 1 },
	{ "#PF by the EPCM, at a fetch", "AEX: #PF 0x8015 at page_rwx", "SIGSEGV 2", AT_call, PAGE_RWX + 0x20, { 0 }, PAGE_RWX + 0x20, "0x0", "0x8000030e", "page_rwx+0x20, 0x8015", "1", 1 | 1 << 3, 1 },
};

static const struct facet {
	const char *name, *source;
	uint32_t miscselect;
	void (*say)(const struct event *event, const struct outcome *outcome, const struct request *request);
	const char *(*expected)(const struct event *event);
} facets[];

/* Marks where EXINFO will be, so that it is seen whether AEX writes there. */
static void mark_exinfo(void)
{
	struct exinfo mark = { 0x5a5a5a5a, 0xa5a5a5a5, 0 };

	copy_in(ssa_of(1) - sizeof(struct gprsgx) - sizeof(mark), &mark, sizeof(mark));
}

static const char *signal_name(int signo)
{
	switch (signo) {
	case SIGILL:
		return "SIGILL";
	case SIGTRAP:
		return "SIGTRAP";
	case SIGBUS:
		return "SIGBUS";
	case SIGFPE:
		return "SIGFPE";
	case SIGSEGV:
		return "SIGSEGV";
	}
	return "another signal";
}

/* What it touches is present before, so that error codes are those of permissions. */
static void touch(const struct event *event)
{
	static const uint64_t present[] = { TEXT, PAGE_RW, PAGE_RWX };

	for (unsigned int i = 0; i < COUNT(present); i++) {
		struct request request = { .in = { .rbx = place(present[i]) } };

		if ((event->where & -PAGE) == present[i] || (i == 0 && event->where == PAGE_NONE + 0x123))
			run_code(AT_read, &request);
	}
}

struct outcome raise(const struct event *event, struct request *request, struct options options)
{
	static const uint32_t unmasked[] = { 0x37b, 0, 0x1d80 }; /* division by zero: x87's control word, MXCSR */
	struct registers in = event->in;
	struct outcome outcome;

	if (options.miscselect)
		need_exinfo();
	if (event->restricted)
		need_sgx2();
	load(options);
	copy_in(place(OPERAND), unmasked, sizeof(unmasked));
	mark_exinfo();
	touch(event);
	if (event->restricted && restrict_to(event->where & -PAGE, R))
		broken("SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS");
	in.rax = in.rbx = event->where < ENCLAVE_SIZE ? place(event->where) : event->where + (event->where == ~0ull ? 0x11 : 0);
	for (unsigned int n = 0; n < 16; n++)
		if (event->changed >> n & 1)
			GPR(&request->in, n) = GPR(&in, n);
	request->in.rflags |= in.rflags;
	outcome = run_code(event->code, request);
	if (outcome.how == EXITED)
		must_exit(&(struct outcome){ .how = FAULTED }, "no exception");
	return outcome;
}

static void say_told(const struct event *event, const struct outcome *outcome, const struct request *request)
{
	(void)event, (void)request;
	say_outcome(outcome);
}

static void say_signal(const struct event *event, const struct outcome *outcome, const struct request *request)
{
	(void)event, (void)request;
	say("%s %d", signal_name(outcome->signo), (uint64_t)(outcome->code & 0xff));
}

static struct gprsgx frame(void)
{
	struct gprsgx gprsgx;

	frame_of(0, &gprsgx, NULL);
	return gprsgx;
}

static void say_rip(const struct event *event, const struct outcome *outcome, const struct request *request)
{
	struct gprsgx gprsgx = frame();

	(void)outcome, (void)request;
	say("%s", gprsgx.rip == place(event->at) ? "the instruction" : "somewhere else");
}

static void say_exitinfo(const struct event *event, const struct outcome *outcome, const struct request *request)
{
	struct gprsgx gprsgx = frame();

	(void)event, (void)outcome, (void)request;
	say("%x", (uint64_t)gprsgx.exitinfo);
}

static void say_rf(const struct event *event, const struct outcome *outcome, const struct request *request)
{
	struct gprsgx gprsgx = frame();

	(void)event, (void)outcome, (void)request;
	say("%d", (gprsgx.registers.rflags & RF) / RF);
}

static void say_exinfo(const struct event *event, const struct outcome *outcome, const struct request *request)
{
	struct gprsgx gprsgx;
	struct exinfo exinfo;

	(void)event, (void)outcome, (void)request;
	frame_of(0, &gprsgx, &exinfo);
	if (exinfo.maddr == 0x5a5a5a5a && exinfo.errcd == 0xa5a5a5a5)
		say("unchanged");
	else
		say("%a, %x", exinfo.maddr, (uint64_t)exinfo.errcd);
}

static const char *told(const struct event *event) { return event->told; }
static const char *signalled(const struct event *event) { return event->signal; }
static const char *at_instruction(const struct event *event) { (void)event; return "the instruction"; }
static const char *exitinfo(const struct event *event) { return event->exitinfo; }
static const char *exitinfo_with(const struct event *event) { return event->exitinfo_with_exinfo; }
static const char *unchanged(const struct event *event) { (void)event; return "unchanged"; }
static const char *exinfo(const struct event *event) { return event->exinfo; }
static const char *rf(const struct event *event) { return event->rf; }

static const struct facet facets[] = {
	{ "vector, error code and address", AEX_SAYS "; Linux: sigcontext", 0, say_told, told },
	{ "signal and si_code", "Linux arch/x86/kernel/traps.c, mm/fault.c", 0, say_signal, signalled },
	{ "RIP in the SSA", AEX_SAYS ": SSA.RIP", 0, say_rip, at_instruction },
	{ "RF in the SSA", AEX_SAYS "; SDM 3B 18.3.1.1", 0, say_rf, rf },
	{ "EXITINFO without MISCSELECT.EXINFO", EXITINFO_SAYS, 0, say_exitinfo, exitinfo },
	{ "EXITINFO with MISCSELECT.EXINFO", EXITINFO_SAYS, MISC_EXINFO, say_exitinfo, exitinfo_with },
	{ "EXINFO without MISCSELECT.EXINFO", EXINFO_SAYS, 0, say_exinfo, unchanged },
	{ "EXINFO with MISCSELECT.EXINFO", EXINFO_SAYS, MISC_EXINFO, say_exinfo, exinfo },
};

static void act(const struct claim *claim)
{
	const struct event *event = &events[claim->a];
	const struct facet *facet = &facets[claim->b];
	struct request request = { 0 };
	struct outcome outcome = raise(event, &request, (struct options){ .miscselect = facet->miscselect });

	facet->say(event, &outcome, &request);
}

_Static_assert(COUNT(events) == EVENTS, "events.h tells how many");

static unsigned int counted(void)
{
	return EVENTS * COUNT(facets);
}

static void make(unsigned int number, struct claim *claim)
{
	static char name[128];
	const struct event *event = &events[number / COUNT(facets)];
	const struct facet *facet = &facets[number % COUNT(facets)];

	format_into(name, sizeof(name), "%s: %s", event->name, facet->name);
	*claim = (struct claim){ name, facet->source, facet->expected(event), act, number / COUNT(facets), number % COUNT(facets), 0, 0 };
}

const struct group exception_group = { .name = "exception", .about = "exceptions inside: signal, EXITINFO, EXINFO, RIP and RF",
	.make = make, .counted = counted };
