/* EENTER's checks, and which leaves there are. */
#include "conform.h"

#define EENTER_SAYS "SDM 3D 38.4 EENTER"
#define ENCLU_SAYS "SDM 3D 38.4 ENCLU"

static struct outcome eenter(uint64_t tcs, uint64_t aep)
{
	struct request request = { .code = place(AT_nothing), .in = { .rflags = 2 } };
	struct registers in = { .rax = EENTER, .rbx = tcs, .rcx = aep, .rdi = (uint64_t)&request, .rflags = 2 };

	return enclu(&in);
}

/* Leaves: a is RAX. */

static void leaf_outside(const struct claim *claim)
{
	struct registers in = { .rax = claim->a, .rcx = (uint64_t)raw_aep, .rflags = 2 };
	struct outcome outcome;

	load((struct options){ 0 });
	in.rbx = place(TCS0);
	outcome = enclu(&in);
	say_outcome(&outcome);
}

static void high_bits_of_rax(const struct claim *claim)
{
	struct request request = { .in = { .rflags = 2 } };
	struct registers in = { .rax = claim->a, .rcx = (uint64_t)raw_aep, .rdi = (uint64_t)&request, .rflags = 2 };
	struct outcome outcome;

	load((struct options){ 0 });
	request.code = place(AT_nothing);
	in.rbx = place(TCS0);
	outcome = enclu(&in);
	say_outcome(&outcome);
}

static void leaf_inside(const struct claim *claim)
{
	struct outcome outcome;

	load((struct options){ 0 });
	outcome = try_inside((enum leaf)claim->a, place(TCS1), (uint64_t)raw_aep, 0);
	say_outcome(&outcome);
}

extern uint8_t outside_enclu_66[], outside_enclu_f2[], outside_enclu_f3[], outside_enclu_lock[];
static uint8_t *const prefixed[] = { outside_enclu_66, outside_enclu_f2, outside_enclu_f3, outside_enclu_lock };
static const uint64_t prefixed_inside[] = { AT_enclu_66, AT_enclu_f2, AT_enclu_f3, AT_enclu_lock };

static void prefix_outside(const struct claim *claim)
{
	struct registers registers = { .rax = EENTER, .rcx = (uint64_t)raw_aep, .rflags = 2 };
	struct outcome outcome;

	load((struct options){ 0 });
	registers.rbx = place(TCS0);
	outcome = outside((uint64_t)prefixed[claim->a], &registers);
	say_outcome(&outcome);
}

static void prefix_inside(const struct claim *claim)
{
	struct request request = { .in = { .rax = EEXIT, .rbx = (uint64_t)raw_exited } };
	struct outcome outcome;

	load((struct options){ 0 });
	outcome = run_code(prefixed_inside[claim->a], &request);
	say_outcome(&outcome);
}

#define OUTSIDE(leaf) { #leaf " outside an enclave", ENCLU_SAYS, #leaf ": #GP", leaf_outside, leaf, 0, 0, 0 }
#define UNDEFINED(leaf) { "leaf " #leaf " outside", ENCLU_SAYS, "#GP", leaf_outside, leaf, 0, 0, 0 }, \
	{ "leaf " #leaf " inside", ENCLU_SAYS, "AEX: #GP", leaf_inside, leaf, 0, 0, 0 }
#define PREFIX(name, n) { name " outside", ENCLU_SAYS ", opcode NP 0F 01 D7", "#UD", prefix_outside, n, 0, 0, 0 }, \
	{ name " inside", ENCLU_SAYS ", opcode NP 0F 01 D7", "AEX: #UD", prefix_inside, n, 0, 0, 0 }

static const struct claim leaves[] = {
	OUTSIDE(EREPORT), OUTSIDE(EGETKEY), OUTSIDE(EEXIT), OUTSIDE(EACCEPT), OUTSIDE(EMODPE), OUTSIDE(EACCEPTCOPY),
	OUTSIDE(EDECCSSA),
	{ "EENTER in an enclave", ENCLU_SAYS, "AEX: #GP", leaf_inside, EENTER, 0, 0, 0 },
	{ "ERESUME in an enclave", ENCLU_SAYS, "AEX: #GP", leaf_inside, ERESUME, 0, 0, 0 },
	UNDEFINED(0xa), UNDEFINED(0x10), UNDEFINED(0x80000000), UNDEFINED(0xffffffff),
	{ "RAX bits 63:32 are ignored", ENCLU_SAYS ": EAX is the leaf", "EEXIT", high_bits_of_rax, 0x100000002, 0, 0, 0 },
	PREFIX("ENCLU with prefix 66", 0), PREFIX("ENCLU with prefix F2", 1), PREFIX("ENCLU with prefix F3", 2),
	PREFIX("ENCLU with LOCK", 3),
};
GROUP(leaf_group, "leaf", "which leaves of ENCLU there are, and where", leaves);

/* EENTER's checks: a is the TCS's offset. */

static void enter_at(const struct claim *claim)
{
	struct outcome outcome;

	load((struct options){ 0 });
	outcome = eenter(place(claim->a), (uint64_t)raw_aep);
	say_outcome(&outcome);
}

static void enter_absolute(const struct claim *claim)
{
	struct outcome outcome;

	load((struct options){ 0 });
	outcome = eenter(claim->a, (uint64_t)raw_aep);
	say_outcome(&outcome);
}

static void enter_memory(const struct claim *claim)
{
	struct outcome outcome;

	load((struct options){ 0 });
	((volatile uint8_t *)memory)[claim->a] = 0;
	outcome = eenter((uint64_t)memory + claim->a, (uint64_t)raw_aep);
	say_outcome(&outcome);
}

/* Not the first entry, whose page faults would be AEXs; and again, should an interrupt come. */
static void enter_with_aep(const struct claim *claim)
{
	struct outcome outcome;

	load((struct options){ 0 });
	outcome = eenter(place(TCS1), (uint64_t)raw_aep);
	for (int i = 0; i < 10; i++) {
		outcome = eenter(place(TCS1), claim->a);
		if (outcome.how == EXITED || outcome.rip != claim->a)
			break;
	}
	say_outcome(&outcome);
}

static void enter_in_state(const struct claim *claim)
{
	struct outcome outcome;
	long got;

	load((struct options){ .state = claim->a });
	got = call6(SYS_MMAP, (long)place(0), 32 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, enclave.fd, 0);
	if (got == -EACCES) /* more than the TCSes: text is not to be written */
		got = call6(SYS_MMAP, (long)place(0), 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, enclave.fd, 0);
	if (got < 0)
		broken("mmap: %e", got);
	outcome = eenter(place(TCS0), (uint64_t)raw_aep);
	say_outcome(&outcome);
}

/* So that the next entry has the second frame, which has been used before, too. */
static void use_frame(uint64_t is_used)
{
	struct request request = { 0 };

	if (!is_used)
		return;
	run_code(AT_ud2, &request);
	run_code(AT_nothing, &request);
}

/* a: offset of the page whose protection becomes b; 8: it is unmapped.  c: whether a frame is in use.  The page is, too. */
static void enter_protected(const struct claim *claim)
{
	struct request request = { 0 };
	struct outcome outcome;
	long result;

	load((struct options){ 0 });
	outcome = run_code(AT_nothing, &request);
	must_exit(&outcome, "a first entry");
	use_frame(claim->c);
	result = claim->b == 8 ? call3(SYS_MUNMAP, (long)place(claim->a), PAGE, 0)
			       : call3(SYS_MPROTECT, (long)place(claim->a), PAGE, (long)claim->b);
	if (result)
		broken("mprotect: %e", result);
	outcome = eenter(place(TCS0), (uint64_t)raw_aep);
	say_outcome(&outcome);
}

/* a: offset of a page that is changed by the kernel (b: permissions, or 8 + page type) and not accepted. */
static void enter_changed(const struct claim *claim)
{
	struct outcome outcome;
	long result;

	need_sgx2();
	load((struct options){ 0 });
	use_frame(claim->c);
	result = claim->b < 8 ? restrict_to(claim->a, claim->b) : modify(claim->a, claim->b - 8);
	if (result)
		broken("ioctl: %e", result);
	outcome = eenter(place(TCS0), (uint64_t)raw_aep);
	say_outcome(&outcome);
}

static void enter_pending(const struct claim *claim)
{
	struct outcome outcome;

	(void)claim;
	need_sgx2();
	load((struct options){ 0 });
	outcome = eenter(place(TCS_SSA_HOLE), (uint64_t)raw_aep); /* the fault has the kernel add a page there */
	say_outcome(&outcome);
}

/* A thread spins in TCS1. */
long start_thread(void *stack_top, void (*function)(void));
static volatile uint32_t inside, stop;
static struct request spinning;

static void spin_in_tcs1(void)
{
	uint64_t rax = EENTER, rbx = place(TCS1), rcx = (uint64_t)raw_aep, rdi = (uint64_t)&spinning;

	__asm__ volatile(".byte 0x0f, 0x01, 0xd7"
			 : "+a"(rax), "+b"(rbx), "+c"(rcx), "+D"(rdi)
			 :
			 : "rdx", "rsi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory", "cc");
}

static void enter_busy(const struct claim *claim)
{
	static uint8_t stack[16 * PAGE] __attribute__((aligned(16)));
	struct outcome outcome;

	load((struct options){ 0 });
	if (claim->b) { /* a frame is in use */
		struct request request = { .code = place(AT_ud2), .in = { .rflags = 2 } };

		enter(place(TCS1), &request, EENTER);
	}
	spinning = (struct request){ .code = place(AT_spin),
		.in = { .rdi = (uint64_t)&inside, .rsi = (uint64_t)&stop, .rflags = 2 } };
	start_thread(stack + sizeof(stack) - 16, spin_in_tcs1);
	while (!inside)
		__asm__ volatile("pause");
	if (claim->a == ERESUME) {
		struct registers in = { .rax = ERESUME, .rbx = place(TCS1), .rcx = (uint64_t)raw_aep, .rflags = 2 };

		outcome = enclu(&in);
	} else {
		outcome = eenter(place(TCS1), (uint64_t)raw_aep);
	}
	say_outcome(&outcome);
	stop = 1;
}

/* As many exceptions as there are frames, and an entry more. */
static void enter_beyond_nssa(const struct claim *claim)
{
	struct request request = { .in = { .rflags = 2 } };
	struct outcome outcome;

	load((struct options){ 0 });
	request.code = place(AT_ud2);
	for (uint64_t i = 0; i < claim->b; i++) {
		outcome = enter(place(claim->a), &request, EENTER);
		if (outcome.how != AEX)
			broken("an UD2 inside is no AEX");
	}
	outcome = enter(place(claim->a), &request, EENTER);
	say_outcome(&outcome);
}

static const struct claim eenter_faults[] = {
	{ "RBX not page aligned", EENTER_SAYS ": DS:RBX is not 4KByte aligned", "EENTER: #GP", enter_at, TCS0 + 8, 0, 0, 0 },
	{ "RBX aligned to 2048", EENTER_SAYS ": DS:RBX is not 4KByte aligned", "EENTER: #GP", enter_at, TCS0 + 2048, 0, 0, 0 },
	{ "RBX not canonical", "SDM 1 3.3.7.1; " EENTER_SAYS, "EENTER: #GP", enter_absolute, FAR_ADDRESS, 0, 0, 0 },
	{ "RBX 0: nothing mapped", EENTER_SAYS ": does not resolve within an EPC", "EENTER: #PF 0x4 at 0x0", enter_absolute, 0, 0, 0, 0 },
	{ "RBX in ordinary memory", EENTER_SAYS ": does not resolve within an EPC", "EENTER: #PF 0x8005 at memory+0x1000", enter_memory, PAGE, 0, 0, 0 },
	{ "RBX a text page", EENTER_SAYS ": EPCM.PT is not PT_TCS", "EENTER: #PF 0x8005 at text", enter_at, TEXT, 0, 0, 0 },
	{ "RBX a data page", EENTER_SAYS ": EPCM.PT is not PT_TCS", "EENTER: #PF 0x8005 at data", enter_at, DATA, 0, 0, 0 },
	{ "RBX an SSA page", EENTER_SAYS ": EPCM.PT is not PT_TCS", "EENTER: #PF 0x8005 at ssa", enter_at, SSA, 0, 0, 0 },
	{ "AEP not canonical", EENTER_SAYS ": AEP is not canonical", "EENTER: #GP", enter_with_aep, FAR_ADDRESS, TCS0, 0, 0 },
	{ "AEP just not canonical", EENTER_SAYS ": AEP is not canonical", "EENTER: #GP", enter_with_aep, 0x800000000000, TCS0, 0, 0 },
	{ "AEP 0 is canonical", EENTER_SAYS ": AEP is not canonical", "EEXIT", enter_with_aep, 0, TCS0, 0, 0 },
	{ "AEP in the kernel's half is canonical", EENTER_SAYS ": AEP is not canonical", "EEXIT", enter_with_aep, 0xffff800000000000, TCS0, 0, 0 },
	{ "enclave not initialised", EENTER_SAYS ": ATTRIBUTES.INIT is 0", "EENTER: #GP", enter_in_state, ADDED, 0, 0, 0 },
	{ "enclave without pages", "Linux sgx_vma_fault(): no page", "EENTER: #PF 0x4 at tcs0", enter_in_state, CREATED, 0, 0, 0 },
	{ "TCS.NSSA 0", EENTER_SAYS ": CSSA >= NSSA", "EENTER: #GP", enter_at, TCS_NSSA_0, 0, 0, 0 },
	{ "CSSA has reached NSSA 3", EENTER_SAYS ": CSSA >= NSSA", "EENTER: #GP", enter_beyond_nssa, TCS0, 3, 0, 0 },
	{ "CSSA has reached NSSA 1", EENTER_SAYS ": CSSA >= NSSA", "EENTER: #GP", enter_beyond_nssa, TCS_NSSA_1, 1, 0, 0 },
	{ "OFSBASE leads to no canonical address", EENTER_SAYS ": FS base is not canonical", "EENTER: #GP", enter_at, TCS_FS_FAR, 0, 0, 0 },
	{ "OGSBASE leads to no canonical address", EENTER_SAYS ": GS base is not canonical", "EENTER: #GP", enter_at, TCS_GS_FAR, 0, 0, 0 },
	{ "OENTRY leads to no canonical address", EENTER_SAYS ": target is not canonical", "EENTER: #GP", enter_at, TCS_OENTRY_FAR, 0, 0, 0 },
	{ "OENTRY in a page without X", "SDM 3D 37.3: the fetch, not EENTER", "AEX: #PF 0x15 at data", enter_at, TCS_OENTRY_DATA, 0, 0, 0 },
	{ "TCS busy", EENTER_SAYS ": TCS is busy", "EENTER: #GP", enter_busy, EENTER, 0, 0, 0 },
	{ "TCS unmapped", "SDM 3A 4.7", "EENTER: #PF 0x4 at tcs0", enter_protected, TCS0, 8, 0, 0 },
	{ "TCS mapped without access", "SDM 3A 4.7", "EENTER: #PF 0x4 at tcs0", enter_protected, TCS0, PROT_NONE, 0, 0 },
	{ "TCS mapped to be read is enough", EENTER_SAYS, "EEXIT", enter_protected, TCS0, PROT_READ, 0, 0 },
	{ "TCS mapped to be written, and not to be read, is enough", EENTER_SAYS "; Linux protection_map[]", "EEXIT", enter_protected, TCS0, PROT_WRITE, 0, 0 },
	{ "SSA page mapped to be written, and not to be read, is enough", EENTER_SAYS "; Linux protection_map[]", "EEXIT", enter_protected, SSA, PROT_WRITE, 0, 0 },
	{ "SSA page unmapped", EENTER_SAYS ": SSA frame", "EENTER: #PF 0x6 at ssa", enter_protected, SSA, 8, 0, 0 },
	{ "SSA page mapped without access", EENTER_SAYS ": SSA frame", "EENTER: #PF 0x6 at ssa", enter_protected, SSA, PROT_NONE, 0, 0 },
	{ "SSA page mapped to be read", EENTER_SAYS ": SSA frame", "EENTER: #PF 0x7 at ssa", enter_protected, SSA, PROT_READ, 0, 0 },
	{ "GPRSGX's page unmapped", EENTER_SAYS ": GPRSGX", "EENTER: #PF 0x6 at ssa+0x3f48", enter_protected, SSA + 3 * PAGE, 8, 0, 0 },
	{ "GPRSGX's page mapped to be read", EENTER_SAYS ": GPRSGX", "EENTER: #PF 0x7 at ssa+0x3f48", enter_protected, SSA + 3 * PAGE, PROT_READ, 0, 0 },
	{ "a page of the frame that XSAVE does not reach is not looked at", EENTER_SAYS ": SSA frame", "EEXIT", enter_protected, SSA + PAGE, 8, 0, 0 },
	{ "the next SSA frame is not looked at", EENTER_SAYS ": SSA frame", "EEXIT", enter_protected, SSA + 4 * PAGE, 8, 0, 0 },
	{ "CSSA 1: the second frame unmapped", EENTER_SAYS ": SSA frame", "EENTER: #PF 0x6 at ssa+0x4000", enter_protected, SSA + 4 * PAGE, 8, 1, 0 },
	{ "CSSA 1: the second frame mapped without access", EENTER_SAYS ": SSA frame", "EENTER: #PF 0x6 at ssa+0x4000", enter_protected, SSA + 4 * PAGE, PROT_NONE, 1, 0 },
	{ "CSSA 1: the second frame mapped to be read", EENTER_SAYS ": SSA frame", "EENTER: #PF 0x7 at ssa+0x4000", enter_protected, SSA + 4 * PAGE, PROT_READ, 1, 0 },
	{ "CSSA 1: the second GPRSGX unmapped", EENTER_SAYS ": GPRSGX", "EENTER: #PF 0x6 at ssa+0x7f48", enter_protected, SSA + 7 * PAGE, 8, 1, 0 },
	{ "CSSA 1: the second GPRSGX mapped to be read", EENTER_SAYS ": GPRSGX", "EENTER: #PF 0x7 at ssa+0x7f48", enter_protected, SSA + 7 * PAGE, PROT_READ, 1, 0 },
	{ "CSSA 1: the first frame is not looked at", EENTER_SAYS ": SSA frame", "EEXIT", enter_protected, SSA, 8, 1, 0 },
	{ "CSSA 1: the third frame is not looked at", EENTER_SAYS ": SSA frame", "EEXIT", enter_protected, SSA + 8 * PAGE, 8, 1, 0 },
	{ "CSSA 1: the second frame restricted to read by EMODPR", EENTER_SAYS ": EPCM.W of the SSA", "EENTER: #PF 0x8007 at ssa+0x4000", enter_changed, SSA + 4 * PAGE, R, 1, 0 },
	{ "CSSA 1: the second GPRSGX restricted to read by EMODPR", EENTER_SAYS ": EPCM.W of GPRSGX", "EENTER: #PF 0x8007 at ssa+0x7f48", enter_changed, SSA + 7 * PAGE, R, 1, 0 },
	{ "CSSA 1: the second frame trimmed by EMODT", EENTER_SAYS ": EPCM.PT of the SSA is not PT_REG", "EENTER: #PF 0x8007 at ssa+0x4000", enter_changed, SSA + 4 * PAGE, 8 + PT_TRIM, 1, 0 },
	{ "CSSA 1: the first frame may be trimmed", EENTER_SAYS ": SSA frame", "EEXIT", enter_changed, SSA, 8 + PT_TRIM, 1, 0 },
	{ "SSA in text", EENTER_SAYS ": EPCM.R and W of the SSA", "EENTER: #PF 0x7 at text", enter_at, TCS_SSA_TEXT, 0, 0, 0 },
	{ "SSA in a page that is only read", EENTER_SAYS ": EPCM.R and W of the SSA", "EENTER: #PF 0x7 at page_r", enter_at, TCS_SSA_READ_ONLY, 0, 0, 0 },
	{ "SSA in a page without permissions", EENTER_SAYS ": EPCM.R and W of the SSA", "EENTER: #PF 0x6 at page_none", enter_at, TCS_SSA_NONE, 0, 0, 0 },
	{ "SSA in a TCS", EENTER_SAYS ": EPCM.PT of the SSA is not PT_REG", "EENTER: #PF 0x8007 at tcs0", enter_at, TCS_SSA_TCS, 0, 0, 0 },
	{ "GPRSGX in a page that is only read", EENTER_SAYS ": EPCM.R and W of GPRSGX", "EENTER: #PF 0x7 at page_r+0xf48", enter_at, TCS_GPRSGX_READ_ONLY, 0, 0, 0 },
	{ "OSSA leads to no canonical address", EENTER_SAYS ": SSA frame", "EENTER: #GP", enter_at, TCS_SSA_FAR, 0, 0, 0 },
	{ "SSA where EAUG has just put a page", EENTER_SAYS ": EPCM.PENDING of the SSA", "EENTER: #PF 0x8007 at hole", enter_pending, 0, 0, 0, 0 },
	{ "SSA restricted to read by EMODPR", EENTER_SAYS ": EPCM.W of the SSA", "EENTER: #PF 0x8007 at ssa", enter_changed, SSA, R, 0, 0 },
	{ "GPRSGX restricted to read by EMODPR", EENTER_SAYS ": EPCM.W of GPRSGX", "EENTER: #PF 0x8007 at ssa+0x3f48", enter_changed, SSA + 3 * PAGE, R, 0, 0 },
	{ "SSA trimmed by EMODT", EENTER_SAYS ": EPCM.PT of the SSA is not PT_REG", "EENTER: #PF 0x8007 at ssa", enter_changed, SSA, 8 + PT_TRIM, 0, 0 },
	{ "SSA made a TCS by EMODT", EENTER_SAYS ": EPCM.PT of the SSA is not PT_REG", "EENTER: #PF 0x8007 at ssa", enter_changed, SSA, 8 + PT_TCS, 0, 0 },
	{ "TCS trimmed by EMODT", EENTER_SAYS ": EPCM.MODIFIED", "EENTER: #PF 0x8005 at tcs0", enter_changed, TCS0, 8 + PT_TRIM, 0, 0 },
};
GROUP(eenter_group, "eenter", "what EENTER checks, and what it raises", eenter_faults);

/* ERESUME of a TCS that another thread is in: with the others of its group in cases_resume.c. */
void resume_busy(const struct claim *claim)
{
	enter_busy(claim);
}
