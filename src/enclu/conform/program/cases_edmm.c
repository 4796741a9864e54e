/* EACCEPT, EACCEPTCOPY and EMODPE, and what comes of them together with the driver's ioctls. */
#include "conform.h"

#define EACCEPT_SAYS "SDM 3D 38.4 EACCEPT"
#define COPY_SAYS "SDM 3D 38.4 EACCEPTCOPY"
#define EMODPE_SAYS "SDM 3D 38.4 EMODPE"

enum { FRESH = HOLE }; /* where the first access has the kernel add a page by EAUG */

static void say_code(const struct outcome *outcome)
{
	if (outcome->how == EXITED)
		say("RAX %x, flags %x", outcome->registers.rax, outcome->registers.rflags & ARITHMETIC);
	else
		say_outcome(outcome);
}

/* With all arithmetic flags set before. */
static struct outcome leaf(enum leaf number, uint64_t rbx, uint64_t rcx, uint64_t rdx)
{
	struct request request = { .in = { .rax = number, .rbx = rbx, .rcx = rcx, .rdx = rdx, .rflags = 2 | ARITHMETIC } };
	struct outcome outcome = run_code(AT_enclu, &request);

	if (outcome.how == EXITED)
		outcome.registers = request.out;
	return outcome;
}

static void prepare(void)
{
	need_sgx2();
	load((struct options){ 0 });
}

void put_in_state(uint64_t page, enum preparation preparation)
{
	long result = 0;

	switch (preparation) {
	case AS_ADDED:
		break;
	case RESTRICTED_R:
		result = restrict_to(page, R);
		break;
	case RESTRICTED_NONE:
		result = restrict_to(page, 0);
		break;
	case TRIMMED:
		result = modify(page, PT_TRIM);
		break;
	case MADE_TCS:
		result = modify(page, PT_TCS);
		break;
	case ACCEPTED_TRIM:
		result = modify(page, PT_TRIM);
		if (accept(page, TRIM | MODIFIED))
			broken("EACCEPT of the trim");
		break;
	case ADDED_ANEW: /* removed: the next access has the kernel add another by EAUG, which is pending */
		put_in_state(page, ACCEPTED_TRIM);
		result = remove_page(page);
		break;
	case TAKEN_AWAY:
		result = call3(SYS_MUNMAP, (long)place(page), PAGE, 0);
		break;
	}
	if (result)
		broken("ioctl: %e", result);
}

/* a: the page; b: SECINFO.FLAGS; c: what is done to the page before. */
static void accept_page(const struct claim *claim)
{
	struct outcome outcome;

	prepare();
	put_in_state(claim->a, (enum preparation)claim->c);
	outcome = leaf(EACCEPT, secinfo_inside(claim->b), place(claim->a), 0);
	say_code(&outcome);
}

/* a: the leaf; b: added to SECINFO's address; c: instead of the page's offset; d: the byte of SECINFO that is 0x80. */
#define OUTSIDE (1ull << 32)

static uint64_t address_of(uint64_t offset)
{
	return offset & OUTSIDE ? (uint64_t)memory + (offset & 0xffff) : place(offset);
}

static void wrong_operands(const struct claim *claim)
{
	struct secinfo secinfo = { .flags = REG | PENDING | R | W };
	struct outcome outcome;

	prepare();
	if (claim->d)
		((uint8_t *)&secinfo)[claim->d] = 0x80;
	copy_in(place(OPERAND), &secinfo, sizeof(secinfo));
	outcome = leaf((enum leaf)claim->a, address_of(claim->b), address_of(claim->c), place(PAGE_RW));
	say_code(&outcome);
}

#define MISMATCH "RAX 0x13, flags 0x40"
#define DONE "RAX 0x0, flags 0x0"
#define WRONG(leaf, says) \
	{ #leaf ": SECINFO not aligned to 64", says ": DS:RBX is not 64Byte Aligned", "AEX: #GP", wrong_operands, leaf, OPERAND + 32, FRESH, 0 }, \
	{ #leaf ": SECINFO outside ELRANGE", says ": not within CR_ELRANGE", "AEX: #GP", wrong_operands, leaf, OUTSIDE, FRESH, 0 }, \
	{ #leaf ": SECINFO in a TCS", says ": EPCM.PT", "AEX: #PF 0x8005 at tcs1", wrong_operands, leaf, TCS1, FRESH, 0 }, \
	{ #leaf ": page not aligned", says ": DS:RCX is not 4KByte Aligned", "AEX: #GP", wrong_operands, leaf, OPERAND, FRESH + 64, 0 }, \
	{ #leaf ": page outside ELRANGE", says ": not within CR_ELRANGE", "AEX: #GP", wrong_operands, leaf, OPERAND, OUTSIDE, 0 }, \
	{ #leaf ": page right behind ELRANGE", says ": not within CR_ELRANGE", "AEX: #GP", wrong_operands, leaf, OPERAND, ENCLAVE_SIZE, 0 }, \
	{ #leaf ": SECINFO.FLAGS, bits 23:16", says ": reserved fields", "AEX: #GP", wrong_operands, leaf, OPERAND, FRESH, 2 }, \
	{ #leaf ": SECINFO.FLAGS, the last bit", says ": reserved fields", "AEX: #GP", wrong_operands, leaf, OPERAND, FRESH, 7 }, \
	{ #leaf ": SECINFO, the byte behind FLAGS", says ": reserved fields", "AEX: #GP", wrong_operands, leaf, OPERAND, FRESH, 8 }, \
	{ #leaf ": SECINFO, the last byte", says ": reserved fields", "AEX: #GP", wrong_operands, leaf, OPERAND, FRESH, 63 }

static const struct claim accepts[] = {
	WRONG(EACCEPT, EACCEPT_SAYS),
	{ "a page that EAUG has added", EACCEPT_SAYS, DONE, accept_page, FRESH, REG | PENDING | R | W, 0, 0 },
	{ "as one that is read", EACCEPT_SAYS ": EPCM.R, W, X", MISMATCH, accept_page, FRESH, REG | PENDING | R, 0, 0 },
	{ "as one that is executed", EACCEPT_SAYS ": EPCM.R, W, X", MISMATCH, accept_page, FRESH, REG | PENDING | R | X, 0, 0 },
	{ "as one with all permissions", EACCEPT_SAYS ": EPCM.R, W, X", MISMATCH, accept_page, FRESH, REG | PENDING | R | W | X, 0, 0 },
	{ "as one with none", EACCEPT_SAYS ": EPCM.R, W, X", MISMATCH, accept_page, FRESH, REG | PENDING, 0, 0 },
	{ "as one that is written only", EACCEPT_SAYS ": EPCM.R, W, X", MISMATCH, accept_page, FRESH, REG | PENDING | W, 0, 0 },
	{ "a page that is not pending, as pending", EACCEPT_SAYS ": EPCM.PENDING", MISMATCH, accept_page, PAGE_RW, REG | PENDING | R | W, 0, 0 },
	{ "a page whose permissions are as before", EACCEPT_SAYS, DONE, accept_page, PAGE_RW, REG | PR | R | W, 0, 0 },
	{ "restricted by EMODPR", EACCEPT_SAYS, DONE, accept_page, PAGE_RW, REG | PR | R, RESTRICTED_R, 0 },
	{ "restricted to nothing", EACCEPT_SAYS, DONE, accept_page, PAGE_RW, REG | PR, RESTRICTED_NONE, 0 },
	{ "restricted, as if it were not", EACCEPT_SAYS ": EPCM.R, W, X", MISMATCH, accept_page, PAGE_RW, REG | PR | R | W, RESTRICTED_R, 0 },
	{ "restricted, as pending", EACCEPT_SAYS ": EPCM.PENDING", MISMATCH, accept_page, PAGE_RW, REG | PENDING | R, RESTRICTED_R, 0 },
	{ "trimmed by EMODT", EACCEPT_SAYS, DONE, accept_page, PAGE_RW, TRIM | MODIFIED, TRIMMED, 0 },
	{ "trimmed, as a TCS", EACCEPT_SAYS ": EPCM.PT", MISMATCH, accept_page, PAGE_RW, TCS | MODIFIED, TRIMMED, 0 },
	{ "trimmed, with permissions", EACCEPT_SAYS ": EPCM.R, W, X", MISMATCH, accept_page, PAGE_RW, TRIM | MODIFIED | R, TRIMMED, 0 },
	{ "trimmed, as regular", EACCEPT_SAYS ": EPCM.PT", MISMATCH, accept_page, PAGE_RW, REG | PR | R | W, TRIMMED, 0 },
	{ "trimmed and accepted already", EACCEPT_SAYS ": EPCM.MODIFIED", MISMATCH, accept_page, PAGE_RW, TRIM | MODIFIED, ACCEPTED_TRIM, 0 },
	{ "a TCS trimmed", EACCEPT_SAYS, DONE, accept_page, TCS1, TRIM | MODIFIED, TRIMMED, 0 },
	{ "a TCS that is one, as modified", EACCEPT_SAYS ": EPCM.MODIFIED", MISMATCH, accept_page, TCS1, TCS | MODIFIED, 0, 0 },
	{ "made a TCS, but it holds none", EACCEPT_SAYS ": the TCS's fields", "AEX: #GP", accept_page, PAGE_RW, TCS | MODIFIED, MADE_TCS, 0 },
	{ "where nothing is mapped", "SDM 3A 4.7", "AEX: #PF 0x4 at page_rw", accept_page, PAGE_RW, REG | PR | R | W, TAKEN_AWAY, 0 },
};

/* EACCEPT of a page that EAUG has added, by all that SECINFO can say of type and state. */
static const char *const types[] = { "PT_SECS", "PT_TCS", "PT_REG", "PT_VA", "PT_TRIM", "type 7" };
static const uint64_t numbers[] = { PT_SECS, PT_TCS, PT_REG, PT_VA, PT_TRIM, 7 };

static unsigned int accept_count(void)
{
	return COUNT(accepts) + COUNT(types) * 8;
}

static void make_accept(unsigned int number, struct claim *claim)
{
	static char name[128];
	uint64_t state, type;
	const char *expected = "AEX: #GP";

	if (number < COUNT(accepts)) {
		*claim = accepts[number];
		return;
	}
	number -= COUNT(accepts);
	state = number % 8 << 3;
	type = numbers[number / 8];
	format_into(name, sizeof(name), "SECINFO of %s%s%s%s", types[number / 8], state & PENDING ? " PENDING" : "",
		    state & MODIFIED ? " MODIFIED" : "", state & PR ? " PR" : "");
	if (type == PT_REG && state && !(state & MODIFIED))
		expected = state & PENDING ? DONE : MISMATCH;
	else if ((type == PT_TCS || type == PT_TRIM) && state == MODIFIED)
		expected = MISMATCH;
	*claim = (struct claim){ name, EACCEPT_SAYS ": combination of type and state; EPCM", expected, accept_page, FRESH,
				 FLAGS_OF(type) | state | R | W, 0, 0 };
}

const struct group eaccept_group = { .name = "eaccept", .about = "EACCEPT: its checks, and the states that it accepts",
	.make = make_accept, .counted = accept_count };

/* EACCEPTCOPY.  a: the page; b: SECINFO.FLAGS; c: the source. */
static void copy_page(const struct claim *claim)
{
	struct outcome outcome;

	prepare();
	outcome = leaf(EACCEPTCOPY, secinfo_inside(claim->b), place(claim->a), address_of(claim->c));
	say_code(&outcome);
}

/* What the enclave may do with the page afterwards; d: the access's code. */
static void copy_then(const struct claim *claim)
{
	struct request request = { 0 };
	struct outcome outcome;

	prepare();
	if (call3(SYS_MPROTECT, (long)place(FRESH), PAGE, PROT_READ | PROT_WRITE | PROT_EXEC))
		broken("mprotect");
	outcome = leaf(EACCEPTCOPY, secinfo_inside(claim->b), place(FRESH), place(PAGE_RW));
	if (outcome.how != EXITED || outcome.registers.rax)
		broken("EACCEPTCOPY");
	request.in.rax = request.in.rbx = place(FRESH);
	outcome = run_code(claim->d, &request);
	say_outcome(&outcome);
	if (outcome.how == EXITED && claim->d == AT_read)
		say(", %x", request.out.rax);
}

static const struct claim copies[] = {
	WRONG(EACCEPTCOPY, COPY_SAYS),
	{ "to a pending page", COPY_SAYS, DONE, copy_page, FRESH, REG | R | W, PAGE_RW, 0 },
	{ "to a pending page, which becomes text", COPY_SAYS, DONE, copy_page, FRESH, REG | R | X, PAGE_RW, 0 },
	{ "to a page that is not pending", COPY_SAYS ": EPCM.PENDING", MISMATCH, copy_page, PAGE_RW + PAGE, REG | R | W, PAGE_RW, 0 },
	{ "to a TCS", COPY_SAYS ": EPCM.PT", MISMATCH, copy_page, TCS1, REG | R | W, PAGE_RW, 0 },
	{ "SECINFO of a TCS", COPY_SAYS ": SECINFO's type", "AEX: #GP", copy_page, FRESH, TCS, PAGE_RW, 0 },
	{ "SECINFO of a trimmed page", COPY_SAYS ": SECINFO's type", "AEX: #GP", copy_page, FRESH, TRIM, PAGE_RW, 0 },
	{ "SECINFO with W and without R", COPY_SAYS ": SECINFO's permissions", "AEX: #GP", copy_page, FRESH, REG | W, PAGE_RW, 0 },
	{ "source not aligned", COPY_SAYS ": DS:RDX is not 4KByte Aligned", "AEX: #GP", copy_page, FRESH, REG | R | W, PAGE_RW + 64, 0 },
	{ "source outside ELRANGE", COPY_SAYS ": not within CR_ELRANGE", "AEX: #GP", copy_page, FRESH, REG | R | W, OUTSIDE, 0 },
	{ "source a TCS", COPY_SAYS ": EPCM.PT of the source", "AEX: #PF 0x8005 at tcs1", copy_page, FRESH, REG | R | W, TCS1, 0 },
	{ "source without permissions", COPY_SAYS ": EPCM.R of the source", "AEX: #PF 0x4 at page_none", copy_page, FRESH, REG | R | W, PAGE_NONE, 0 },
	{ "contents are the source's", COPY_SAYS, "EEXIT, 0xc3c3c3c3c3c3c3c3", copy_then, 0, REG | R, 0, AT_read },
	{ "permissions are SECINFO's: read only", COPY_SAYS ": EPCM.W", "AEX: #PF 0x8007 at hole", copy_then, 0, REG | R, 0, AT_write },
	{ "permissions are SECINFO's: not executed", COPY_SAYS ": EPCM.X", "AEX: #PF 0x8015 at hole", copy_then, 0, REG | R | W, 0, AT_call },
	{ "permissions are SECINFO's: executed", COPY_SAYS ": EPCM.X", "EEXIT", copy_then, 0, REG | R | X, 0, AT_call },
	{ "permissions are SECINFO's: written", COPY_SAYS ": EPCM.W", "EEXIT", copy_then, 0, REG | R | W, 0, AT_write },
};
GROUP(eacceptcopy_group, "eacceptcopy", "EACCEPTCOPY: its checks, and what the page is then", copies);

/* EMODPE.  a: the page; b: SECINFO.FLAGS; c: what is done to the page before; d: the code that is executed with it then. */
static void extend(const struct claim *claim)
{
	struct request request = { 0 };
	struct outcome outcome;

	prepare();
	put_in_state(claim->a, (enum preparation)claim->c);
	if (claim->c == RESTRICTED_R && accept(claim->a, REG | PR | R))
		broken("EACCEPT");
	if (claim->c == RESTRICTED_NONE && accept(claim->a, REG | PR))
		broken("EACCEPT");
	outcome = leaf(EMODPE, secinfo_inside(claim->b), place(claim->a), 0);
	if (outcome.how != EXITED || !claim->d) {
		say_outcome(&outcome);
		return;
	}
	request.in.rax = request.in.rbx = place(claim->a);
	outcome = run_code(claim->d, &request);
	say_outcome(&outcome);
}

static void extend_flags(const struct claim *claim)
{
	struct outcome outcome;

	prepare();
	outcome = leaf(EMODPE, secinfo_inside(REG | R), place(PAGE_RW), 0);
	must_exit(&outcome, "EMODPE");
	say("%x, RAX %s", outcome.registers.rflags & ARITHMETIC, outcome.registers.rax == claim->a ? "unchanged" : "changed");
}

static const struct claim extensions[] = {
	WRONG(EMODPE, EMODPE_SAYS),
	{ "W of a restricted page", EMODPE_SAYS, "EEXIT", extend, PAGE_RWX, REG | R | W, RESTRICTED_R, AT_write },
	{ "X of a restricted page", EMODPE_SAYS, "EEXIT", extend, PAGE_RWX, REG | R | X, RESTRICTED_R, AT_call },
	{ "X alone leaves W away", EMODPE_SAYS, "AEX: #PF 0x8007 at page_rwx", extend, PAGE_RWX, REG | X, RESTRICTED_R, AT_write },
	{ "R of a page without any", EMODPE_SAYS, "EEXIT", extend, PAGE_RWX, REG | R, RESTRICTED_NONE, AT_read },
	{ "nothing takes nothing away", EMODPE_SAYS, "EEXIT", extend, PAGE_RWX, REG, 0, AT_write },
	{ "the mapping is asked all the same", "SDM 3D 37.3", "AEX: #PF 0x15 at page_rw", extend, PAGE_RW, REG | R | W | X, 0, AT_call },
	{ "W of a page without R", EMODPE_SAYS ": W without R", "AEX: #GP", extend, PAGE_RWX, REG | W, RESTRICTED_NONE, 0 },
	{ "a TCS", EMODPE_SAYS ": EPCM.PT is not PT_REG", "AEX: #PF 0x8005 at tcs1", extend, TCS1, REG | R | W, 0, 0 },
	{ "a page that is pending", EMODPE_SAYS ": EPCM.PENDING", "AEX: #PF 0x8005 at hole", extend, FRESH, REG | R | W, 0, 0 },
	{ "a page that is trimmed", EMODPE_SAYS ": EPCM.MODIFIED", "AEX: #PF 0x8005 at page_rwx", extend, PAGE_RWX, REG | R | W, TRIMMED, 0 },
	{ "a page that was trimmed and accepted", EMODPE_SAYS ": EPCM.PT is not PT_REG", "AEX: #PF 0x8005 at page_rwx", extend, PAGE_RWX, REG | R | W, ACCEPTED_TRIM, 0 },
	{ "where nothing is mapped", "SDM 3A 4.7", "AEX: #PF 0x4 at page_rwx", extend, PAGE_RWX, REG | R | W, TAKEN_AWAY, 0 },
	{ "flags and RAX are kept", EMODPE_SAYS ": flags affected: none", "0x8d5, RAX unchanged", extend_flags, EMODPE, 0, 0, 0 },
};
GROUP(emodpe_group, "emodpe", "EMODPE: its checks, and what it extends", extensions);

/* Sequences. */

static struct outcome touch(uint64_t offset, uint64_t code, uint64_t value, uint64_t *got)
{
	struct request request = { .in = { .rbx = place(offset), .rax = code == AT_write ? value : place(offset) } };
	struct outcome outcome = run_code(code, &request);

	if (got)
		*got = request.out.rax;
	return outcome;
}

static void say_touch(uint64_t offset, uint64_t code)
{
	struct outcome outcome = touch(offset, code, 0x77, NULL);

	say_outcome(&outcome);
}

static void pending_access(const struct claim *claim)
{
	prepare();
	say_touch(FRESH, claim->a);
}

static void added_page(const struct claim *claim)
{
	uint64_t word = 1;

	(void)claim;
	prepare();
	say("%x, ", accept(FRESH, REG | PENDING | R | W));
	touch(FRESH, AT_read, 0, &word);
	say("%x, ", word);
	say_touch(FRESH, AT_write);
}

static void trimmed_page(const struct claim *claim)
{
	prepare();
	put_in_state(PAGE_RW, claim->a ? ACCEPTED_TRIM : TRIMMED);
	say_touch(PAGE_RW, claim->b);
}

static void removed_and_added(const struct claim *claim)
{
	uint64_t word = 1;

	(void)claim;
	prepare();
	put_in_state(PAGE_RW, ACCEPTED_TRIM);
	say("%e, ", remove_page(PAGE_RW));
	say("%x, ", accept(PAGE_RW, REG | PENDING | R | W));
	touch(PAGE_RW, AT_read, 0, &word);
	say("%x", word);
}

static void restricted_before_accept(const struct claim *claim)
{
	prepare();
	put_in_state(PAGE_RWX, RESTRICTED_R);
	say_touch(PAGE_RWX, claim->a);
}

/* A TCS made at run time: the enclave copies one of its own pages, in which it has written a TCS. */
static void new_tcs(const struct claim *claim)
{
	uint64_t fields[10] = { [2] = SSA + SSA_FRAMES * SSA_FRAME_PAGES * PAGE, [3] = 1ull << 32, [4] = AT_entry_shared, [6] = FS, [7] = GS };
	struct request request = { .in = { .rflags = 2 } };
	struct outcome outcome;

	fields[claim->a] |= claim->b;
	fields[8] = ~0ull;
	prepare();
	fill(memory, 0, PAGE);
	copy(memory, fields, sizeof(fields));
	if (accept(FRESH, REG | PENDING | R | W))
		broken("EACCEPT of the page");
	copy_in(place(FRESH), memory, PAGE);
	if (modify(FRESH, PT_TCS))
		broken("SGX_IOC_ENCLAVE_MODIFY_TYPES");
	outcome = leaf(EACCEPT, secinfo_inside(TCS | MODIFIED), place(FRESH), 0);
	if (outcome.how != EXITED) {
		say("EACCEPT ");
		say_outcome(&outcome);
		return;
	}
	request.code = place(AT_nothing);
	outcome = enter(place(FRESH), &request, EENTER);
	say_outcome(&outcome);
}

static void unaccepted_tcs(const struct claim *claim)
{
	struct request request = { .in = { .rflags = 2 } };
	struct outcome outcome;

	(void)claim;
	prepare();
	put_in_state(PAGE_RW, MADE_TCS);
	request.code = place(AT_nothing);
	outcome = enter(place(PAGE_RW), &request, EENTER);
	say_outcome(&outcome);
}

static void repeated_extension(const struct claim *claim)
{
	(void)claim;
	prepare();
	for (int i = 0; i < 2; i++) { /* each takes an SSA frame */
		put_in_state(PAGE_RWX, RESTRICTED_R);
		if (accept(PAGE_RWX, REG | PR | R))
			broken("EACCEPT");
		say_touch(PAGE_RWX, AT_write);
		say("; ");
		enclu_inside(EMODPE, secinfo_inside(REG | R | W), place(PAGE_RWX), 0);
	}
	say_touch(PAGE_RWX, AT_write);
}

#define SEQUENCE_SAYS "SDM 3D 37.5.6, 38.4"
static const struct claim sequences[] = {
	{ "a page that EAUG has added, read before EACCEPT", "SDM 3D 37.3: EPCM.PENDING", "AEX: #PF 0x8005 at hole", pending_access, AT_read, 0, 0, 0 },
	{ "a page that EAUG has added, written before EACCEPT", "SDM 3D 37.3: EPCM.PENDING", "AEX: #PF 0x8007 at hole", pending_access, AT_write, 0, 0, 0 },
	{ "a page that EAUG has added is zero, and written after EACCEPT", SEQUENCE_SAYS, "0x0, 0x0, EEXIT", added_page, 0, 0, 0, 0 },
	{ "a trimmed page, read before EACCEPT", "SDM 3D 37.3: EPCM.MODIFIED", "AEX: #PF 0x8005 at page_rw", trimmed_page, 0, AT_read, 0, 0 },
	{ "a trimmed page, written before EACCEPT", "SDM 3D 37.3: EPCM.MODIFIED", "AEX: #PF 0x8007 at page_rw", trimmed_page, 0, AT_write, 0, 0 },
	{ "a trimmed page, read after EACCEPT", "SDM 3D 37.3: EPCM.PT", "AEX: #PF 0x8005 at page_rw", trimmed_page, 1, AT_read, 0, 0 },
	{ "a trimmed page, written after EACCEPT", "SDM 3D 37.3: EPCM.PT", "AEX: #PF 0x8007 at page_rw", trimmed_page, 1, AT_write, 0, 0 },
	{ "trimmed, accepted, removed, added again: zero", SEQUENCE_SAYS "; Linux sgx_encl_remove_pages()", "0, 0x0, 0x0", removed_and_added, 0, 0, 0, 0 },
	{ "restricted, read before EACCEPT", "SDM 3D 38.3 EMODPR", "EEXIT", restricted_before_accept, AT_read, 0, 0, 0 },
	{ "restricted, written before EACCEPT", "SDM 3D 38.3 EMODPR", "AEX: #PF 0x8007 at page_rwx", restricted_before_accept, AT_write, 0, 0, 0 },
	{ "restricted, executed before EACCEPT", "SDM 3D 38.3 EMODPR", "AEX: #PF 0x8015 at page_rwx", restricted_before_accept, AT_call, 0, 0, 0 },
	{ "restricted and extended, twice", SEQUENCE_SAYS, "AEX: #PF 0x8007 at page_rwx; AEX: #PF 0x8007 at page_rwx; EEXIT", repeated_extension, 0, 0, 0, 0 },
	{ "a new TCS is entered", SEQUENCE_SAYS, "EEXIT", new_tcs, 2, 0, 0, 0 },
	{ "a new TCS before EACCEPT", "SDM 3D 38.4 EENTER: EPCM.MODIFIED", "EENTER: #PF 0x8005 at page_rw", unaccepted_tcs, 0, 0, 0, 0 },
	{ "a new TCS with DBGOPTIN", EACCEPT_SAYS ": TCS.FLAGS", "EACCEPT AEX: #GP", new_tcs, 1, 1, 0, 0 },
	{ "a new TCS with a reserved flag", EACCEPT_SAYS ": TCS.FLAGS", "EACCEPT AEX: #GP", new_tcs, 1, 0x80, 0, 0 },
	{ "a new TCS that is active", EACCEPT_SAYS ": TCS.STATE", "EACCEPT AEX: #GP", new_tcs, 0, 1, 0, 0 },
	{ "a new TCS with an AEP", EACCEPT_SAYS ": TCS.AEP", "EACCEPT AEX: #GP", new_tcs, 5, 1, 0, 0 },
	{ "a new TCS with CSSA at NSSA", EACCEPT_SAYS ": TCS.CSSA >= TCS.NSSA", "EACCEPT AEX: #GP", new_tcs, 3, 1, 0, 0 },
};
GROUP(sequence_group, "edmm", "sequences of EAUG, EACCEPT, EMODPR, EMODPE, EMODT and removal", sequences);
