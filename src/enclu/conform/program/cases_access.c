/* Accesses: what page tables and EPCM let pass, and the page fault where they do not. */
#include "conform.h"

enum access { READ, WRITE, FETCH };
static const char *const names[] = { [0] = "---", [R] = "r--", [W] = "-w-", [R | W] = "rw-", [R | X] = "r-x", [W | X] = "-wx", [R | W | X] = "rwx", [X] = "--x" };
static const uint64_t vmas[] = { 0, R, R | W, R | X, R | W | X, W, W | X }, epcms[] = { 0, R, R | W, R | X, R | W | X, X };
static const char *const accesses[] = { "read", "write", "fetch" };
/* Of a mapping one of them will do: what may be written may be read (Linux protection_map[]; SDM 3A 4.6.1). */
static const uint64_t mapped_needs[] = { R | W, W, X }, needs[] = { R, W, X }, bits[] = { 0, PF_W, PF_I };

static struct outcome access_by_enclave(uint64_t address, enum access access)
{
	static const uint64_t code[] = { AT_read, AT_write, AT_call };
	struct request request = { .in = { .rbx = address, .rax = address } };

	return run_code(code[access], &request);
}

/* A page that was added with all permissions: its mapping has a, then its EPCM entry b; c is the access. */
static void access_page(const struct claim *claim)
{
	struct outcome outcome;

	if (claim->b != (R | W | X))
		need_sgx2();
	load((struct options){ 0 });
	outcome = access_by_enclave(place(PAGE_RWX), READ); /* so that it is present */
	must_exit(&outcome, "a first access");
	if (claim->b != (R | W | X)) {
		long result = restrict_to(PAGE_RWX, claim->b);

		if (result || accept(PAGE_RWX, REG | PR | claim->b))
			broken("SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS: %e, or EACCEPT", result);
	}
	if (call3(SYS_MPROTECT, (long)place(PAGE_RWX), PAGE, (long)claim->a))
		broken("mprotect");
	outcome = access_by_enclave(place(PAGE_RWX), (enum access)claim->c);
	say_outcome(&outcome);
}

static unsigned int counted(void)
{
	return COUNT(vmas) * COUNT(epcms) * COUNT(accesses);
}

/* The rule: page tables are asked first (SDM 3A 4.7), then the EPCM, whose refusal has the SGX bit (SDM 3D 37.3). */
static void make(unsigned int number, struct claim *claim)
{
	static char name[128], expected[64];
	uint64_t access = number % 3, epcm = epcms[number / 3 % COUNT(epcms)], vma = vmas[number / 3 / COUNT(epcms)];
	uint64_t code = PF_U | bits[access];

	format_into(name, sizeof(name), "VMA %s, EPCM %s: %s", names[vma], names[epcm], accesses[access]);
	if (!(vma & mapped_needs[access]))
		code |= vma ? PF_P : 0;
	else if (!(epcm & needs[access]))
		code |= PF_P | PF_SGX;
	else
		code = 0;
	format_into(expected, sizeof(expected), code ? "AEX: #PF %x at page_rwx" : "EEXIT", code);
	*claim = (struct claim){ name, "SDM 3A 4.7, 3D 37.3", expected, access_page, vma, epcm, access, 0 };
}

const struct group access_group = { .name = "access", .about = "the enclave's accesses, by VMA and EPCM permissions",
	.make = make, .counted = counted };

/* Other accesses: by the enclave to a place that is somehow special, and from outside. */

/* a: where; b: the access.  Nobody has touched the page before. */
static void first_access(const struct claim *claim)
{
	struct outcome outcome;

	load((struct options){ 0 });
	outcome = access_by_enclave(place(claim->a), (enum access)claim->b);
	say_outcome(&outcome);
}

static void access_address(const struct claim *claim)
{
	struct outcome outcome;

	load((struct options){ 0 });
	outcome = access_by_enclave(claim->a, (enum access)claim->b);
	say_outcome(&outcome);
}

static void access_outside(const struct claim *claim)
{
	struct outcome outcome;

	load((struct options){ 0 });
	((volatile uint8_t *)memory)[claim->a] = 0xc3;
	if (call3(SYS_MPROTECT, (long)memory, sizeof(memory), (long)claim->c))
		broken("mprotect");
	outcome = access_by_enclave((uint64_t)memory + claim->a, (enum access)claim->b);
	call3(SYS_MPROTECT, (long)memory, sizeof(memory), PROT_READ | PROT_WRITE);
	say_outcome(&outcome);
}

static void ordinary_memory_in_elrange(const struct claim *claim)
{
	struct outcome outcome;

	load((struct options){ 0 });
	if (call6(SYS_MMAP, (long)place(HOLE), PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) < 0)
		broken("mmap");
	*(volatile uint8_t *)place(HOLE) = 1;
	outcome = access_by_enclave(place(HOLE), (enum access)claim->b);
	say_outcome(&outcome);
}

/* a: the page; b: what is done to it from outside. */
extern uint8_t outside_read[], outside_write[];

static void read_from_outside(const struct claim *claim)
{
	struct registers registers = { .rflags = 2 };
	struct request touch = { 0 };
	struct outcome outcome;

	load((struct options){ 0 });
	run_code(AT_nothing, &touch);
	registers.rbx = place(claim->a);
	outcome = outside((uint64_t)outside_read, &registers);
	if (outcome.how == EXITED)
		say("%x", registers.rax);
	else
		say_outcome(&outcome);
}

/* a: the page; b: its state; c: the access. */
static void change_from_outside(const struct claim *claim)
{
	struct registers registers = { .rflags = 2 };
	struct outcome outcome;

	need_sgx2();
	load((struct options){ 0 });
	put_in_state(claim->a, (enum preparation)claim->b);
	registers.rbx = place(claim->a);
	outcome = outside((uint64_t)(claim->c == WRITE ? outside_write : outside_read), &registers);
	if (outcome.how == EXITED && claim->c == READ)
		say("%x", registers.rax);
	else if (outcome.how == EXITED)
		say("done");
	else
		say_outcome(&outcome);
}

static void write_from_outside(const struct claim *claim)
{
	struct registers registers = { .rax = 0x1234, .rflags = 2 };
	struct request request = { 0 };
	struct outcome outcome;
	uint64_t word;

	load((struct options){ 0 });
	run_code(AT_nothing, &request);
	registers.rbx = place(claim->a);
	outcome = outside((uint64_t)outside_write, &registers);
	if (outcome.how != EXITED) {
		say_outcome(&outcome);
		return;
	}
	if (claim->b) { /* a TCS: it serves as before */
		outcome = run_code(AT_nothing, &request);
		say_outcome(&outcome);
		return;
	}
	copy_out(&word, place(claim->a), sizeof(word));
	say("%x", word);
}

static void execute_from_outside(const struct claim *claim)
{
	struct registers registers = { .rflags = 2 };
	struct outcome outcome;

	load((struct options){ 0 });
	outcome = outside(place(claim->a), &registers);
	if (outcome.how == EXITED)
		say("executed");
	else
		say_outcome(&outcome);
}

/* read(2) of a byte to a page of the enclave. */
static void call_with_page(const struct claim *claim)
{
	long fd = call3(SYS_OPEN, (long)"/proc/self/comm", O_RDONLY, 0);

	load((struct options){ 0 });
	say("%e", call3(SYS_READ, fd, (long)place(claim->a), 1));
}

static void access_unmapped(const struct claim *claim)
{
	struct outcome outcome;

	load((struct options){ 0 });
	if (call3(SYS_MUNMAP, (long)place(claim->a), PAGE, 0))
		broken("munmap");
	outcome = access_by_enclave(place(claim->a), (enum access)claim->b);
	say_outcome(&outcome);
}

#define PAGES_SAY "SDM 3A 4.7"
#define EPCM_SAYS "SDM 3D 37.3"
#define ABORT_SAYS "SDM 3D 37.3: abort page semantics"
static const struct claim others[] = {
	{ "a page's first access, which its mapping forbids: write to text", PAGES_SAY ": not present", "AEX: #PF 0x6 at text+0x1000", first_access, TEXT + PAGE, WRITE, 0, 0 },
	{ "a page's first access, which its mapping forbids: write to a page that is only read", PAGES_SAY ": not present", "AEX: #PF 0x6 at page_r", first_access, PAGE_R, WRITE, 0, 0 },
	{ "a page's first access, which its mapping forbids: fetch from data", PAGES_SAY ": not present", "AEX: #PF 0x14 at page_rw", first_access, PAGE_RW, FETCH, 0, 0 },
	{ "a page without permissions: read", PAGES_SAY, "AEX: #PF 0x4 at page_none", first_access, PAGE_NONE, READ, 0, 0 },
	{ "a page without permissions: write", PAGES_SAY, "AEX: #PF 0x6 at page_none", first_access, PAGE_NONE, WRITE, 0, 0 },
	{ "a page without permissions: fetch", PAGES_SAY, "AEX: #PF 0x14 at page_none", first_access, PAGE_NONE, FETCH, 0, 0 },
	{ "a TCS: read", EPCM_SAYS ": EPCM.PT", "AEX: #PF 0x8005 at tcs1", first_access, TCS1, READ, 0, 0 },
	{ "a TCS: write", EPCM_SAYS ": EPCM.PT", "AEX: #PF 0x8007 at tcs1", first_access, TCS1, WRITE, 0, 0 },
	{ "its own TCS: read", EPCM_SAYS ": EPCM.PT", "AEX: #PF 0x8005 at tcs0", first_access, TCS0, READ, 0, 0 },
	{ "a page that is executed", EPCM_SAYS, "EEXIT", first_access, PAGE_RX, FETCH, 0, 0 },
	{ "a page that is executed, read", EPCM_SAYS, "EEXIT", first_access, PAGE_RX, READ, 0, 0 },
	{ "nothing mapped: read", PAGES_SAY, "AEX: #PF 0x4 at page_rw+0x1000", access_unmapped, PAGE_RW + PAGE, READ, 0, 0 },
	{ "nothing mapped: write", PAGES_SAY, "AEX: #PF 0x6 at page_rw+0x1000", access_unmapped, PAGE_RW + PAGE, WRITE, 0, 0 },
	{ "nothing mapped: fetch", PAGES_SAY, "AEX: #PF 0x14 at page_rw+0x1000", access_unmapped, PAGE_RW + PAGE, FETCH, 0, 0 },
	{ "address 0: read", PAGES_SAY, "AEX: #PF 0x4 at 0x0", access_address, 8, READ, 0, 0 },
	{ "address 0: write", PAGES_SAY, "AEX: #PF 0x6 at 0x0", access_address, 8, WRITE, 0, 0 },
	{ "the kernel's half: read", "Linux sanitize_error_code(): P is set", "AEX: #PF 0x5 at 0xffff888000000000", access_address, 0xffff888000000010, READ, 0, 0 },
	{ "the kernel's half: write", "Linux sanitize_error_code(): P is set", "AEX: #PF 0x7 at 0xffff888000000000", access_address, 0xffff888000000010, WRITE, 0, 0 },
	{ "no canonical address: read", "SDM 1 3.3.7.1", "AEX: #GP", access_address, 0x800000000000, READ, 0, 0 },
	{ "no canonical address: write", "SDM 1 3.3.7.1", "AEX: #GP", access_address, 0x800000000000, WRITE, 0, 0 },
	{ "memory outside: read", EPCM_SAYS, "EEXIT", access_outside, 16, READ, R | W, 0 },
	{ "memory outside: write", EPCM_SAYS, "EEXIT", access_outside, 16, WRITE, R | W, 0 },
	{ "memory outside that is only read: write", PAGES_SAY, "AEX: #PF 0x7 at memory", access_outside, 16, WRITE, R, 0 },
	{ "memory outside without access: read", PAGES_SAY, "AEX: #PF 0x4 at memory", access_outside, 16, READ, 0, 0 },
	{ "code outside: fetch", "SDM 3D 37.3: fetch outside ELRANGE is #GP", "AEX: #GP", access_outside, 16, FETCH, R | X, 0 },
	{ "data outside: fetch", "SDM 3D 37.3: fetch outside ELRANGE is #GP", "AEX: #GP", access_outside, 16, FETCH, R | W, 0 },
	{ "address 0: fetch", "SDM 3D 37.3: fetch outside ELRANGE is #GP", "AEX: #GP", access_address, 8, FETCH, 0, 0 },
	{ "ordinary memory mapped into ELRANGE: read", EPCM_SAYS, "AEX: #PF 0x8005 at hole", ordinary_memory_in_elrange, 0, READ, 0, 0 },
	{ "ordinary memory mapped into ELRANGE: write", EPCM_SAYS, "AEX: #PF 0x8007 at hole", ordinary_memory_in_elrange, 0, WRITE, 0, 0 },
	{ "read from outside: a TCS", ABORT_SAYS, "0xffffffffffffffff", read_from_outside, TCS0, 0, 0, 0 },
	{ "read from outside: data", ABORT_SAYS, "0xffffffffffffffff", read_from_outside, PAGE_RW, 0, 0, 0 },
	{ "read from outside: text", ABORT_SAYS, "0xffffffffffffffff", read_from_outside, TEXT, 0, 0, 0 },
	{ "read from outside, pending: a page that EAUG has added", ABORT_SAYS, "0xffffffffffffffff", change_from_outside, HOLE, AS_ADDED, READ, 0 },
	{ "read from outside, trimmed", ABORT_SAYS, "0xffffffffffffffff", change_from_outside, PAGE_RW, TRIMMED, READ, 0 },
	{ "read from outside, trimmed and accepted", ABORT_SAYS, "0xffffffffffffffff", change_from_outside, PAGE_RW, ACCEPTED_TRIM, READ, 0 },
	{ "read from outside, removed and added by EAUG", ABORT_SAYS, "0xffffffffffffffff", change_from_outside, PAGE_RW, ADDED_ANEW, READ, 0 },
	{ "write from outside, pending", ABORT_SAYS, "done", change_from_outside, HOLE, AS_ADDED, WRITE, 0 },
	{ "write from outside, trimmed", ABORT_SAYS, "done", change_from_outside, PAGE_RW, TRIMMED, WRITE, 0 },
	{ "write from outside is lost: a TCS", ABORT_SAYS, "EEXIT", write_from_outside, TCS0, 1, 0, 0 },
	{ "write from outside is lost: data", ABORT_SAYS, "0xc3c3c3c3c3c3c3c3", write_from_outside, PAGE_RW, 0, 0, 0 },
	{ "write from outside, which the mapping forbids: text", PAGES_SAY, "#PF 0x7 at text", write_from_outside, TEXT, 0, 0, 0 },
	{ "execution from outside", ABORT_SAYS, "#UD", execute_from_outside, PAGE_RX, 0, 0, 0 },
	{ "a system call that writes to a TCS", ABORT_SAYS, "0", call_with_page, TCS0, 0, 0, 0 },
	{ "a system call that writes to data", ABORT_SAYS, "0", call_with_page, PAGE_RW, 0, 0, 0 },
};
GROUP(outside_group, "place", "accesses to special places, and from outside", others);
