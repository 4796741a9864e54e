/* Operands of the leaves that are executed inside, by what their page is: of each operand, in each state. */
#include "conform.h"

enum { DATA_AT = OPERAND, MORE = OPERAND + 512, RESULT = OPERAND + PAGE, SUBJECT = PAGE_RWX, FRESH = HOLE };

/* `access` is what the leaf needs, R or W; a target is what the leaf acts upon, whatever EPCM permissions that has. */
static const struct operand {
	const char *name, *source;
	enum leaf leaf;
	unsigned int which; /* 0: RBX; 1: RCX; 2: RDX */
	uint64_t access;
	int target;
	uint64_t others[3]; /* where the operands are that it is not about */
	uint64_t flags;     /* SECINFO's */
} operands[] = {
	{ "EREPORT, TARGETINFO", "SDM 3D 38.4 EREPORT", EREPORT, 0, R, 0, { DATA_AT, MORE, RESULT }, 0 },
	{ "EREPORT, REPORTDATA", "SDM 3D 38.4 EREPORT", EREPORT, 1, R, 0, { DATA_AT, MORE, RESULT }, 0 },
	{ "EREPORT, REPORT", "SDM 3D 38.4 EREPORT", EREPORT, 2, W, 0, { DATA_AT, MORE, RESULT }, 0 },
	{ "EGETKEY, KEYREQUEST", "SDM 3D 38.4 EGETKEY", EGETKEY, 0, R, 0, { DATA_AT, RESULT, 0 }, 0 },
	{ "EGETKEY, the key", "SDM 3D 38.4 EGETKEY", EGETKEY, 1, W, 0, { DATA_AT, RESULT, 0 }, 0 },
	{ "EACCEPT, SECINFO", "SDM 3D 38.4 EACCEPT", EACCEPT, 0, R, 0, { DATA_AT, PAGE_RW, 0 }, REG | PR | R | W },
	{ "EACCEPT, the page", "SDM 3D 38.4 EACCEPT: read access", EACCEPT, 1, R, 1, { DATA_AT, PAGE_RW, 0 }, REG | PR | R | W | X },
	{ "EMODPE, SECINFO", "SDM 3D 38.4 EMODPE", EMODPE, 0, R, 0, { DATA_AT, PAGE_RW, 0 }, REG | R },
	{ "EMODPE, the page", "SDM 3D 38.4 EMODPE: read access", EMODPE, 1, R, 1, { DATA_AT, PAGE_RW, 0 }, REG | R },
	{ "EACCEPTCOPY, SECINFO", "SDM 3D 38.4 EACCEPTCOPY", EACCEPTCOPY, 0, R, 0, { DATA_AT, FRESH, PAGE_RW }, REG | R | W },
	{ "EACCEPTCOPY, the source", "SDM 3D 38.4 EACCEPTCOPY", EACCEPTCOPY, 2, R, 0, { DATA_AT, FRESH, PAGE_RW }, REG | R | W },
	{ "EACCEPTCOPY, the page", "SDM 3D 38.4 EACCEPTCOPY: read/write access", EACCEPTCOPY, 1, W, 1, { DATA_AT, FRESH, PAGE_RW }, REG | R | W },
};

enum { UNMAPPED = 8, MAPPED = 16 }; /* instead of PROT_* */
static const struct state {
	const char *name;
	uint64_t mapped; /* PROT_*, or the above */
	enum preparation preparation;
	uint64_t epcm; /* what the EPCM lets pass then */
} states[] = {
	{ "as it was added", MAPPED, AS_ADDED, R | W },
	{ "unmapped", UNMAPPED, AS_ADDED, R | W },
	{ "mapped without access", PROT_NONE, AS_ADDED, R | W },
	{ "mapped to be read", PROT_READ, AS_ADDED, R | W },
	{ "mapped to be written", PROT_WRITE, AS_ADDED, R | W },
	{ "restricted to be read by EMODPR", MAPPED, RESTRICTED_R, R },
	{ "restricted to nothing by EMODPR", MAPPED, RESTRICTED_NONE, 0 },
	{ "trimmed by EMODT", MAPPED, TRIMMED, 0 },
	{ "trimmed and accepted", MAPPED, ACCEPTED_TRIM, 0 },
	{ "made a TCS by EMODT", PROT_READ | PROT_WRITE, MADE_TCS, 0 }, /* which Linux lets be mapped so */
	{ "added by EAUG and pending", MAPPED, ADDED_ANEW, 0 },
};
enum { OF_MAPPING = 5 }; /* so many states are the mapping's alone: those of a target, of which its own group has the others */

static uint64_t subject_of(const struct operand *operand)
{
	return operand->target && operand->leaf == EACCEPTCOPY ? FRESH : SUBJECT;
}

static void fill_operand(const struct operand *operand, uint64_t offset)
{
	struct keyrequest request = { .keyname = KEY_SEAL };
	struct secinfo secinfo = { .flags = operand->flags };

	if (operand->leaf == EGETKEY)
		copy_in(place(offset), &request, sizeof(request));
	else if (operand->leaf == EREPORT)
		copy_in(place(offset), memory, 512); /* zero */
	else
		copy_in(place(offset), &secinfo, sizeof(secinfo));
}

static void act(const struct claim *claim)
{
	const struct operand *operand = &operands[claim->a];
	const struct state *state = &states[claim->b];
	uint64_t subject = subject_of(operand), at[3];
	struct request touch = { 0 };
	struct outcome outcome;
	long result = 0;

	if (operand->leaf >= EACCEPT || state->preparation != AS_ADDED)
		need_sgx2();
	load((struct options){ 0 });
	fill(memory, 0, PAGE);
	touch.in.rbx = place(subject);
	run_code(AT_read, &touch); /* so that it is present; a page that EAUG has just added may not be read */
	if (subject == SUBJECT)
		fill_operand(operand, SUBJECT);
	put_in_state(subject, state->preparation);
	fill_operand(operand, DATA_AT); /* where EACCEPT of the preparation had its SECINFO */
	if (state->mapped != MAPPED)
		result = state->mapped == UNMAPPED ? call3(SYS_MUNMAP, (long)place(subject), PAGE, 0)
						   : call3(SYS_MPROTECT, (long)place(subject), PAGE, (long)state->mapped);
	if (result)
		broken("mprotect: %e", result);
	for (unsigned int i = 0; i < 3; i++)
		at[i] = place(i == operand->which ? subject : operand->others[i]);
	outcome = try_inside(operand->leaf, at[0], at[1], at[2]);
	say_outcome(&outcome);
	if (outcome.how == EXITED && operand->leaf != EREPORT && operand->leaf != EMODPE)
		say(", RAX %x", outcome.registers.rax);
}

static unsigned int states_of(const struct operand *operand)
{
	return operand->target ? OF_MAPPING : COUNT(states);
}

static unsigned int counted(void)
{
	unsigned int count = 0;

	for (unsigned int i = 0; i < COUNT(operands); i++)
		count += states_of(&operands[i]);
	return count;
}

/* The rule: page tables are asked first (SDM 3A 4.7), then the EPCM, whose refusal has the SGX bit (SDM 3D 37.3). */
static void make(unsigned int number, struct claim *claim)
{
	static char name[128], expected[64];
	const struct operand *operand = operands;
	const struct state *state;
	uint64_t code = PF_U;
	int mapped;

	for (; number >= states_of(operand); operand++)
		number -= states_of(operand);
	state = &states[number];
	if (operand->access == W)
		code |= PF_W;
	mapped = state->mapped == MAPPED || (state->mapped != UNMAPPED && state->mapped & (operand->access == W ? PROT_WRITE : PROT_READ | PROT_WRITE));
	if (!mapped)
		code |= state->mapped == PROT_READ ? PF_P : 0;
	else if (!(state->epcm & operand->access))
		code |= PF_P | PF_SGX;
	else
		code = 0;
	if (code)
		format_into(expected, sizeof(expected), "AEX: #PF %x at %s", code, subject_of(operand) == FRESH ? "hole" : "page_rwx");
	else
		format_into(expected, sizeof(expected), "EEXIT%s", operand->leaf == EREPORT || operand->leaf == EMODPE ? "" : ", RAX 0x0");
	format_into(name, sizeof(name), "%s, %s", operand->name, state->name);
	*claim = (struct claim){ name, operand->source, expected, act, (uint64_t)(operand - operands), number, 0, 0 };
}

const struct group operand_group = { .name = "operand", .about = "operands of the leaves inside, by their page's mapping and EPCM entry",
	.make = make, .counted = counted };
