/* What EENTER and EEXIT do to registers. */
#include "conform.h"

#define EENTER_SAYS "SDM 3D 38.4 EENTER"
#define EEXIT_SAYS "SDM 3D 38.4 EEXIT"

/* EENTER: a is the register's number. */

/* The registers at the enclave's first instruction. */
static struct registers entered_with(struct registers *in, struct request *request, struct outcome *outcome)
{
	load((struct options){ 0 });
	request->code = place(AT_nothing);
	in->rax = EENTER;
	in->rbx = place(TCS0);
	in->rcx = (uint64_t)raw_aep;
	in->rdi = (uint64_t)request;
	*outcome = enclu(in);
	must_exit(outcome, "an entry");
	return request->entered;
}

static void entered_register(const struct claim *claim)
{
	struct request request = example();
	struct registers in = request.in, at;
	struct outcome outcome;

	at = entered_with(&in, &request, &outcome);
	say("%s", GPR(&at, claim->a) == GPR(&transition.in, claim->a) ? "unchanged" : "changed");
}

static void entered_rax(const struct claim *claim)
{
	struct request request = example();
	struct registers in = request.in, at = entered_with(&in, &request, &(struct outcome){ 0 });

	(void)claim;
	say("%d", at.rax);
}

static void entered_rax_after(const struct claim *claim)
{
	struct request request = { .in = { .rflags = 2 } };
	struct outcome outcome;

	load((struct options){ 0 });
	for (uint64_t i = 0; i < claim->a; i++) {
		outcome = run_code(AT_ud2, &request);
		if (outcome.how != AEX)
			broken("an UD2 inside is no AEX");
	}
	outcome = run_code(AT_nothing, &request);
	must_exit(&outcome, "an entry");
	say("%d", request.entered.rax);
}

static void entered_rbx(const struct claim *claim)
{
	struct request request = example();
	struct registers in = request.in, at = entered_with(&in, &request, &(struct outcome){ 0 });

	(void)claim;
	say("%a", at.rbx);
}

static void entered_rcx(const struct claim *claim)
{
	struct request request = example();
	struct registers in = request.in, at = entered_with(&in, &request, &(struct outcome){ 0 });

	(void)claim;
	say("ENCLU+%d", at.rcx - (uint64_t)raw_enclu);
}

/* a: the bits of RFLAGS that are set before; said is which of the arithmetic ones, DF, AC and ID are set inside. */
static void entered_flags(const struct claim *claim)
{
	struct request request = example();
	struct registers in = request.in, at;

	in.rflags |= claim->a;
	at = entered_with(&in, &request, &(struct outcome){ 0 });
	say("%x", at.rflags & (ARITHMETIC | DF | RFLAGS_AC | RFLAGS_ID | TF));
}

static void segment_base(const struct claim *claim)
{
	struct request request = { 0 };
	struct outcome outcome;

	load((struct options){ 0 });
	outcome = run_code(claim->a, &request);
	must_exit(&outcome, "a read by a segment");
	say("%x", request.out.rax);
}

#define KEPT(n, name) { name " is kept", EENTER_SAYS, "unchanged", entered_register, n, 0, 0, 0 }
#define FLAG(name, bit, text) { name " is kept", EENTER_SAYS ": RFLAGS but TF is kept", text, entered_flags, bit, 0, 0, 0 }
static const struct claim entered[] = {
	{ "RAX is TCS.CSSA: 0", EENTER_SAYS ": RAX := TCS.CSSA", "0", entered_rax, 0, 0, 0, 0 },
	{ "RAX is TCS.CSSA: 1 after an AEX", EENTER_SAYS ": RAX := TCS.CSSA", "1", entered_rax_after, 1, 0, 0, 0 },
	{ "RAX is TCS.CSSA: 2 after two", EENTER_SAYS ": RAX := TCS.CSSA", "2", entered_rax_after, 2, 0, 0, 0 },
	{ "RBX is the TCS", EENTER_SAYS, "tcs0", entered_rbx, 0, 0, 0, 0 },
	{ "RCX is the address behind ENCLU", EENTER_SAYS ": RCX := address of IP following EENTER", "ENCLU+3", entered_rcx, 0, 0, 0, 0 },
	KEPT(2, "RDX"), KEPT(4, "RSP"), KEPT(5, "RBP"), KEPT(6, "RSI"), KEPT(7, "RDI"), KEPT(8, "R8"), KEPT(9, "R9"),
	KEPT(10, "R10"), KEPT(11, "R11"), KEPT(12, "R12"), KEPT(13, "R13"), KEPT(14, "R14"), KEPT(15, "R15"),
	FLAG("RFLAGS without any", 0, "0x0"), FLAG("CF", CF, "0x1"), FLAG("PF", PARITY, "0x4"), FLAG("AF", AF, "0x10"), FLAG("ZF", ZF, "0x40"),
	FLAG("SF", SF, "0x80"), FLAG("OF", OF, "0x800"), FLAG("DF", DF, "0x400"), FLAG("ID", RFLAGS_ID, "0x200000"),
	{ "FS base is OFSBASE's", EENTER_SAYS ": FS.base", "0xf5f5f5f5f5f5f5f5", segment_base, AT_read_fs, 0, 0, 0 },
	{ "GS base is OGSBASE's", EENTER_SAYS ": GS.base", "0x6565656565656565", segment_base, AT_read_gs, 0, 0, 0 },
};
GROUP(entered_group, "entered", "what registers hold at the enclave's first instruction", entered);

/* EEXIT as the last thing that the enclave does, to raw_exited, with registers of the case's own. */
static struct outcome exit_with(struct request *request)
{
	struct outcome outcome;

	load((struct options){ 0 });
	request->in.rax = EEXIT;
	request->in.rbx = (uint64_t)raw_exited;
	outcome = run_code(AT_enclu, request);
	must_exit(&outcome, "EEXIT");
	return outcome;
}

static void left_register(const struct claim *claim)
{
	struct request request = example();
	struct outcome outcome = exit_with(&request);

	say("%s", GPR(&outcome.registers, claim->a) == GPR(&request.in, claim->a) ? "unchanged" : "changed");
}

static void left_rcx(const struct claim *claim)
{
	struct request request = example();
	struct outcome outcome = exit_with(&request);

	(void)claim;
	say("%s", outcome.registers.rcx == (uint64_t)raw_aep ? "the AEP" : "something else");
}

static void left_rsp(const struct claim *claim)
{
	struct request request = example();
	struct outcome outcome = exit_with(&request);
	uint64_t offset;

	(void)claim;
	say("%s", name_of(outcome.registers.rsp, &offset));
}

static void left_flags(const struct claim *claim)
{
	struct request request = example();
	struct outcome outcome;

	request.in.rflags |= claim->a;
	outcome = exit_with(&request);
	say("%x", outcome.registers.rflags & (ARITHMETIC | DF | RFLAGS_ID | TF));
}

static void exit_to(const struct claim *claim)
{
	struct request request = { .in = { .rax = EEXIT, .rbx = claim->a } };
	struct outcome outcome;

	load((struct options){ 0 });
	outcome = run_code(AT_enclu, &request);
	say_outcome(&outcome);
}

/* RSP is the enclave's there, where no signal's frame can be written: a stack of the handler's own. */
static struct outcome exit_and_fault(uint64_t rbx, uint64_t flags)
{
	static uint8_t handlers[16 * PAGE] __attribute__((aligned(16)));
	struct stack stack = { (uint64_t)handlers, 0, 0, sizeof(handlers) };
	struct request request = example();

	call3(SYS_SIGALTSTACK, (long)&stack, 0, 0);
	load((struct options){ 0 });
	request.in.rax = EEXIT;
	request.in.rbx = rbx;
	request.in.rflags |= flags;
	return run_code(AT_enclu, &request);
}

/* a: an address, or with b, an offset in `memory`. */
static void exit_where_nothing_is(const struct claim *claim)
{
	struct outcome outcome;

	((volatile uint8_t *)memory)[0] = 0;
	outcome = exit_and_fault(claim->b ? (uint64_t)memory + claim->a : claim->a, 0);
	say_outcome(&outcome);
}

static void left_where_nothing_is(const struct claim *claim)
{
	struct outcome outcome = exit_and_fault(claim->a, ARITHMETIC | DF);
	uint64_t offset;

	say("RIP %x, RAX %d, RBX %x, RCX %s, RSP in %s, flags %x", outcome.rip, outcome.registers.rax, outcome.registers.rbx,
	    outcome.registers.rcx == (uint64_t)raw_aep ? "the AEP" : "something else", name_of(outcome.registers.rsp, &offset),
	    outcome.registers.rflags & (ARITHMETIC | DF));
}

/* MOV RAX, raw_exited; JMP RAX: at an address that is aligned to nothing. */
static void exit_unaligned(const struct claim *claim)
{
	uint8_t *code = memory + claim->a;
	uint64_t target = (uint64_t)raw_exited;
	struct outcome outcome;

	code[0] = 0x48;
	code[1] = 0xb8;
	copy(code + 2, &target, sizeof(target));
	code[10] = 0xff;
	code[11] = 0xe0;
	if (call3(SYS_MPROTECT, (long)memory, sizeof(memory), PROT_READ | PROT_WRITE | PROT_EXEC))
		unsupported("memory that is written and executed");
	outcome = exit_and_fault((uint64_t)code, 0);
	say_outcome(&outcome);
}

static void left_segments(const struct claim *claim)
{
	static uint64_t marks[2] = { 0xabcdef, 0x123456 };
	struct request request = { 0 };
	struct outcome outcome;
	uint64_t base = 0;

	load((struct options){ 0 });
	call3(SYS_ARCH_PRCTL, claim->a, (long)&marks[claim->b], 0);
	outcome = run_code(AT_nothing, &request);
	must_exit(&outcome, "an entry");
	call3(SYS_ARCH_PRCTL, claim->c, (long)&base, 0);
	say("%s", base == (uint64_t)&marks[claim->b] ? "as before EENTER" : "changed");
}

/* How often the enclave can be entered and left: EEXIT frees the TCS and leaves CSSA alone. */
static void enter_again(const struct claim *claim)
{
	struct request request = { 0 };
	struct outcome outcome;

	(void)claim;
	load((struct options){ 0 });
	for (int i = 0; i < 5; i++) {
		outcome = run_code(AT_nothing, &request);
		must_exit(&outcome, "an entry");
	}
	say("CSSA %d", request.entered.rax);
}

enum { ARCH_SET_GS = 0x1001, ARCH_SET_FS, ARCH_GET_FS, ARCH_GET_GS };
#define LEFT(n, name) { name " is kept", EEXIT_SAYS, "unchanged", left_register, n, 0, 0, 0 }
#define LEFT_FLAG(name, bit, text) { name " is kept", EEXIT_SAYS ": flags affected: none", text, left_flags, bit, 0, 0, 0 }
static const struct claim left[] = {
	{ "RCX is the AEP", EEXIT_SAYS ": RCX := CR_SAVE_AEP", "the AEP", left_rcx, 0, 0, 0, 0 },
	LEFT(0, "RAX"), LEFT(3, "RBX"), LEFT(2, "RDX"), LEFT(5, "RBP"), LEFT(6, "RSI"), LEFT(7, "RDI"), LEFT(8, "R8"), LEFT(9, "R9"),
	LEFT(10, "R10"), LEFT(11, "R11"), LEFT(12, "R12"), LEFT(13, "R13"), LEFT(14, "R14"), LEFT(15, "R15"),
	{ "RSP stays the enclave's", EEXIT_SAYS, "stacks", left_rsp, 0, 0, 0, 0 },
	LEFT_FLAG("RFLAGS without any", 0, "0x0"), LEFT_FLAG("CF", CF, "0x1"), LEFT_FLAG("PF", PARITY, "0x4"), LEFT_FLAG("AF", AF, "0x10"),
	LEFT_FLAG("ZF", ZF, "0x40"), LEFT_FLAG("SF", SF, "0x80"), LEFT_FLAG("OF", OF, "0x800"), LEFT_FLAG("DF", DF, "0x400"),
	LEFT_FLAG("ID", RFLAGS_ID, "0x200000"),
	{ "RBX not canonical", EEXIT_SAYS ": RBX is not canonical", "AEX: #GP", exit_to, FAR_ADDRESS, 0, 0, 0 },
	{ "RBX just not canonical", EEXIT_SAYS ": RBX is not canonical", "AEX: #GP", exit_to, 0x800000000000, 0, 0, 0 },
	{ "RBX where nothing is: the fetch outside faults", EEXIT_SAYS "; SDM 3A 4.7", "#PF 0x14 at 0x10", exit_where_nothing_is, 0x10, 0, 0, 0 },
	{ "RBX where nothing is: registers", EEXIT_SAYS, "RIP 0x10, RAX 4, RBX 0x10, RCX the AEP, RSP in stacks, flags 0xcd5", left_where_nothing_is, 0x10, 0, 0, 0 },
	{ "RBX in the kernel's half", EEXIT_SAYS "; Linux sanitize_error_code()", "#PF 0x15 at 0xffff888000000010", exit_where_nothing_is, 0xffff888000000010, 0, 0, 0 },
	{ "RBX in memory that is not executed", EEXIT_SAYS "; SDM 3A 4.7", "#PF 0x15 at memory+0x20", exit_where_nothing_is, 0x20, 1, 0, 0 },
	{ "RBX aligned to nothing", EEXIT_SAYS, "EEXIT", exit_unaligned, 0x33, 0, 0, 0 },
	{ "RBX whose code crosses a page", EEXIT_SAYS, "EEXIT", exit_unaligned, PAGE - 5, 0, 0, 0 },
	{ "FS base is the program's again", EEXIT_SAYS ": FS := CR_SAVE_FS", "as before EENTER", left_segments, ARCH_SET_FS, 0, ARCH_GET_FS, 0 },
	{ "GS base is the program's again", EEXIT_SAYS ": GS := CR_SAVE_GS", "as before EENTER", left_segments, ARCH_SET_GS, 1, ARCH_GET_GS, 0 },
	{ "the TCS can be entered again, CSSA is as before", EEXIT_SAYS ": mark TCS as not busy", "CSSA 0", enter_again, 0, 0, 0, 0 },
};
GROUP(eexit_group, "eexit", "EEXIT: its check, and what registers hold behind it", left);
