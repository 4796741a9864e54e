/* What AEX leaves in the processor, and in the SSA frame. */
#include "conform.h"

#define SYNTHETIC_SAYS "SDM 3D table 37-1"
#define STATE_SAYS "SDM 3D 37.3.2"

static volatile uint32_t running, go_on;

/* An AEX with the example's registers: by UD2, or by an interrupt (RDI and RSI are what that takes then). */
static struct outcome leave(struct request *request, int by_interrupt)
{
	load((struct options){ 0 });
	if (!by_interrupt)
		return run_code(AT_ud2, request);
	request->in.rdi = (uint64_t)&running;
	request->in.rsi = (uint64_t)&go_on;
	interrupt(10000, &running);
	return run_code(AT_spin, request);
}

/* The synthetic state: a, the register; b, whether it is by an interrupt. */

static void synthetic_register(const struct claim *claim)
{
	struct request request = example();
	struct outcome outcome = leave(&request, (int)claim->b);

	say("%a", GPR(&outcome.registers, claim->a));
}

static void synthetic_rcx(const struct claim *claim)
{
	struct request request = example();
	struct outcome outcome = leave(&request, (int)claim->b);

	say("%s", outcome.registers.rcx == (uint64_t)raw_aep ? "the AEP" : "something else");
}

static void synthetic_rip(const struct claim *claim)
{
	struct request request = example();
	struct outcome outcome = leave(&request, (int)claim->b);

	say("%s", outcome.rip == (uint64_t)raw_aep ? "the AEP" : "something else");
}

static void synthetic_stack(const struct claim *claim)
{
	struct request request = example();
	struct outcome outcome = leave(&request, (int)claim->b);

	say("%s", GPR(&outcome.registers, claim->a) == GPR(&transition.in, claim->a) ? "as at EENTER" : "changed");
}

static void synthetic_flags(const struct claim *claim)
{
	struct request request = example();
	struct outcome outcome;

	request.in.rflags |= claim->a;
	outcome = leave(&request, (int)claim->b);
	say("%x", outcome.registers.rflags & (ARITHMETIC | DF | RFLAGS_ID | RFLAGS_AC | TF));
}

static uint64_t number_at(const uint8_t *at, unsigned int size)
{
	uint64_t number = 0;

	copy(&number, at, size);
	return number;
}

/* a, b: offset and size in FXSAVE's layout; c: the code that raises the exception, d: where RBX points. */
static void synthetic_state(const struct claim *claim)
{
	static const uint32_t unmasked[] = { 0x37b, 0, 0x1d80 };
	struct request request = { 0 };
	struct outcome outcome;

	load((struct options){ 0 });
	copy_in(place(OPERAND), unmasked, sizeof(unmasked));
	request.in.rbx = place(claim->d);
	outcome = run_code(claim->c, &request);
	if (outcome.how != AEX)
		broken("no AEX");
	if (claim->b <= 8) {
		say("%x", number_at(outcome.fxsave + claim->a, (unsigned int)claim->b));
		return;
	}
	for (uint64_t i = 0; i < claim->b; i++)
		if (outcome.fxsave[claim->a + i]) {
			say("not 0");
			return;
		}
	say("0");
}

/* The SSA frame has what the registers were: a is the register, b whether it is by an interrupt. */
static void saved_register(const struct claim *claim)
{
	struct request request = example();
	struct gprsgx gprsgx;

	leave(&request, (int)claim->b);
	frame_of(0, &gprsgx, NULL);
	say("%s", GPR(&gprsgx.registers, claim->a) == GPR(&request.in, claim->a) ? "saved" : "something else");
}

static void saved_flags(const struct claim *claim)
{
	struct request request = example();
	struct gprsgx gprsgx;

	request.in.rflags |= claim->a;
	leave(&request, 0);
	frame_of(0, &gprsgx, NULL);
	say("%x", gprsgx.registers.rflags & (ARITHMETIC | DF | RFLAGS_ID | RFLAGS_AC | TF));
}

enum frame_field { FIELD_URSP, FIELD_URBP, FIELD_FSBASE, FIELD_GSBASE, FIELD_EXITINFO, FIELD_RIP, FIELD_RF, FIELD_RSP };

static void saved_field(const struct claim *claim)
{
	struct request request = example();
	struct gprsgx gprsgx;
	struct registers in;
	uint64_t offset;

	leave(&request, (int)claim->b);
	in = transition.in;
	frame_of(0, &gprsgx, NULL);
	switch ((enum frame_field)claim->a) {
	case FIELD_URSP:
		say("%s", gprsgx.ursp == in.rsp ? "RSP at EENTER" : "something else");
		break;
	case FIELD_URBP:
		say("%s", gprsgx.urbp == in.rbp ? "RBP at EENTER" : "something else");
		break;
	case FIELD_FSBASE:
		say("%a", gprsgx.fsbase);
		break;
	case FIELD_GSBASE:
		say("%a", gprsgx.gsbase);
		break;
	case FIELD_EXITINFO:
		say("%x", (uint64_t)gprsgx.exitinfo);
		break;
	case FIELD_RIP:
		say("%s", name_of(gprsgx.rip, &offset));
		break;
	case FIELD_RF:
		say("%d", (gprsgx.registers.rflags & RF) / RF);
		break;
	case FIELD_RSP:
		say("%s", name_of(gprsgx.registers.rsp, &offset));
		break;
	}
}

#define ZERO(n, name, how, by) { name ", after " how, SYNTHETIC_SAYS, "0x0", synthetic_register, n, by, 0, 0 }
#define EVENT(how, by) \
	{ "RAX is ERESUME, after " how, SYNTHETIC_SAYS, "0x3", synthetic_register, 0, by, 0, 0 }, \
	{ "RBX is the TCS, after " how, SYNTHETIC_SAYS, "tcs0", synthetic_register, 3, by, 0, 0 }, \
	{ "RCX is the AEP, after " how, SYNTHETIC_SAYS, "the AEP", synthetic_rcx, 1, by, 0, 0 }, \
	{ "RIP is the AEP, after " how, SYNTHETIC_SAYS, "the AEP", synthetic_rip, 0, by, 0, 0 }, \
	{ "RSP, after " how, SYNTHETIC_SAYS ": from SSA.uRSP", "as at EENTER", synthetic_stack, 4, by, 0, 0 }, \
	{ "RBP, after " how, SYNTHETIC_SAYS ": from SSA.uRBP", "as at EENTER", synthetic_stack, 5, by, 0, 0 }, \
	ZERO(2, "RDX", how, by), ZERO(6, "RSI", how, by), ZERO(7, "RDI", how, by), ZERO(8, "R8", how, by), ZERO(9, "R9", how, by), \
	ZERO(10, "R10", how, by), ZERO(11, "R11", how, by), ZERO(12, "R12", how, by), ZERO(13, "R13", how, by), \
	ZERO(14, "R14", how, by), ZERO(15, "R15", how, by)
#define CLEARED(name, bit) { name " is cleared", SYNTHETIC_SAYS ": RFLAGS", "0x0", synthetic_flags, bit, 0, 0, 0 }
#define SAVED(n, name) { name " is in the SSA", "SDM 3D 35.9 GPRSGX", "saved", saved_register, n, 0, 0, 0 }
#define SAVED_FLAG(name, bit, text) { name " is in the SSA", "SDM 3D 35.9 GPRSGX", text, saved_flags, bit, 0, 0, 0 }

static const struct claim synthetic[] = {
	EVENT("an exception", 0), EVENT("an interrupt", 1),
	CLEARED("CF", CF), CLEARED("PF", PARITY), CLEARED("AF", AF), CLEARED("ZF", ZF), CLEARED("SF", SF), CLEARED("OF", OF),
	{ "DF stays", SYNTHETIC_SAYS ": RFLAGS", "0x400", synthetic_flags, DF, 0, 0, 0 },
	{ "ID stays", SYNTHETIC_SAYS ": RFLAGS", "0x200000", synthetic_flags, RFLAGS_ID, 0, 0, 0 },
	{ "AC stays", SYNTHETIC_SAYS ": RFLAGS", "0x40000", synthetic_flags, RFLAGS_AC, 0, 0, 0 },
	{ "FCW", STATE_SAYS, "0x37f", synthetic_state, 0, 2, AT_ud2, 0 },
	{ "FSW", STATE_SAYS, "0x0", synthetic_state, 2, 2, AT_ud2, 0 },
	{ "FTW: all empty", STATE_SAYS, "0x0", synthetic_state, 4, 1, AT_ud2, 0 },
	{ "FOP", STATE_SAYS, "0x0", synthetic_state, 6, 2, AT_ud2, 0 },
	{ "FIP", STATE_SAYS, "0x0", synthetic_state, 8, 8, AT_ud2, 0 },
	{ "FDP", STATE_SAYS, "0x0", synthetic_state, 16, 8, AT_ud2, 0 },
	{ "MXCSR", STATE_SAYS, "0x1fb0", synthetic_state, 24, 4, AT_ud2, 0 },
	{ "x87 registers", STATE_SAYS, "0", synthetic_state, 32, 128, AT_ud2, 0 },
	{ "XMM registers", STATE_SAYS, "0", synthetic_state, 160, 256, AT_ud2, 0 },
	{ "XMM registers after #XM", STATE_SAYS, "0", synthetic_state, 160, 256, AT_simd, OPERAND + 8 },
	{ "FCW after #MF", STATE_SAYS, "0x37e", synthetic_state, 0, 2, AT_x87, OPERAND },
	{ "FSW after #MF", STATE_SAYS, "0x8081", synthetic_state, 2, 2, AT_x87, OPERAND },
	{ "MXCSR after #MF", STATE_SAYS, "0x1fb0", synthetic_state, 24, 4, AT_x87, OPERAND },
	{ "MXCSR after #XM", STATE_SAYS, "0x1f01", synthetic_state, 24, 4, AT_simd, OPERAND + 8 },
	{ "FCW after #XM", STATE_SAYS, "0x37f", synthetic_state, 0, 2, AT_simd, OPERAND + 8 },
	SAVED(0, "RAX"), SAVED(1, "RCX"), SAVED(2, "RDX"), SAVED(3, "RBX"), SAVED(5, "RBP"), SAVED(6, "RSI"), SAVED(7, "RDI"), SAVED(8, "R8"),
	SAVED(9, "R9"), SAVED(10, "R10"), SAVED(11, "R11"), SAVED(12, "R12"), SAVED(13, "R13"), SAVED(14, "R14"), SAVED(15, "R15"),
	SAVED_FLAG("CF", CF, "0x1"), SAVED_FLAG("PF", PARITY, "0x4"), SAVED_FLAG("AF", AF, "0x10"), SAVED_FLAG("ZF", ZF, "0x40"),
	SAVED_FLAG("SF", SF, "0x80"), SAVED_FLAG("OF", OF, "0x800"), SAVED_FLAG("DF", DF, "0x400"), SAVED_FLAG("ID", RFLAGS_ID, "0x200000"),
	SAVED_FLAG("AC", RFLAGS_AC, "0x40000"),
	{ "RSP is in the SSA", "SDM 3D 35.9 GPRSGX", "stacks", saved_field, FIELD_RSP, 0, 0, 0 },
	{ "uRSP in the SSA", "SDM 3D 38.4 EENTER", "RSP at EENTER", saved_field, FIELD_URSP, 0, 0, 0 },
	{ "uRBP in the SSA", "SDM 3D 38.4 EENTER", "RBP at EENTER", saved_field, FIELD_URBP, 0, 0, 0 },
	{ "FSBASE in the SSA", "SDM 3D 37.4 AEX", "fs", saved_field, FIELD_FSBASE, 0, 0, 0 },
	{ "GSBASE in the SSA", "SDM 3D 37.4 AEX", "gs", saved_field, FIELD_GSBASE, 0, 0, 0 },
	{ "EXITINFO after an interrupt", "SDM 3D 35.9.1.1 EXITINFO", "0x0", saved_field, FIELD_EXITINFO, 1, 0, 0 },
	{ "RIP in the SSA after an interrupt", "SDM 3D 37.4 AEX", "text", saved_field, FIELD_RIP, 1, 0, 0 },
	{ "RF in the SSA after an interrupt", "SDM 3B 18.3.1.1", "0", saved_field, FIELD_RF, 1, 0, 0 },
};
GROUP(synthetic_group, "aex", "what AEX leaves in the processor, and in the SSA frame", synthetic);
