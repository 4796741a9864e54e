/* What of an enclave may be mapped, and how. */
#include "conform.h"

#define MAY_MAP "Linux sgx_encl_may_map()"

/* The pages with permissions of their own, by each protection: SECINFO's permissions are the most that a mapping may have. */
static const struct {
	const char *name;
	uint64_t offset, most;
} pages[] = {
	{ "---", PAGE_NONE, 0 }, { "r--", PAGE_R, R }, { "rw-", PAGE_RW, R | W }, { "r-x", PAGE_RX, R | X },
	{ "rwx", PAGE_RWX, R | W | X }, { "--x", PAGE_X, X }, { "TCS", TCS0, R | W },
};
static const char *const protections[] = { "---", "r--", "-w-", "rw-", "--x", "r-x", "-wx", "rwx" };
enum { WAYS = 2 };

static long map(uint64_t offset, uint64_t length, uint64_t prot, uint64_t flags)
{
	long got = call6(SYS_MMAP, (long)place(offset), (long)length, (long)prot, (long)(flags | MAP_FIXED), enclave.fd, 0);

	return got < 0 ? got : 0;
}

/* a: the page; b: the protection; c: by mprotect(2), of a mapping without access, instead of mmap(2). */
static void permission(const struct claim *claim)
{
	load((struct options){ 0 });
	if (!claim->c) {
		say("%e", map(claim->a, PAGE, claim->b, MAP_SHARED));
		return;
	}
	if (map(claim->a, PAGE, PROT_NONE, MAP_SHARED))
		broken("mmap");
	say("%e", call3(SYS_MPROTECT, (long)place(claim->a), PAGE, (long)claim->b));
}

static unsigned int counted(void)
{
	return COUNT(pages) * COUNT(protections) * WAYS;
}

static void make(unsigned int number, struct claim *claim)
{
	static char name[128];
	unsigned int way = number % WAYS, page = number / WAYS / COUNT(protections);
	uint64_t prot = number / WAYS % COUNT(protections);

	format_into(name, sizeof(name), "a page added %s: %s %s", pages[page].name, way ? "mprotect" : "mmap", protections[prot]);
	*claim = (struct claim){ name, MAY_MAP, prot & ~pages[page].most ? "EACCES" : "0", permission, pages[page].offset, prot, way, 0 };
}

const struct group may_map_group = { .name = "may-map", .about = "mmap and mprotect of pages, by the permissions that they were added with",
	.make = make, .counted = counted };

/* Other rules.  a: offset; b: length; c: protection; d: flags. */
static void mapped(const struct claim *claim)
{
	load((struct options){ 0 });
	say("%e", map(claim->a, claim->b, claim->c, claim->d));
}

static void mapped_in_state(const struct claim *claim)
{
	load((struct options){ .state = claim->d });
	say("%e", map(claim->a, claim->b, claim->c, MAP_SHARED));
}

static void protected(const struct claim *claim)
{
	load((struct options){ 0 });
	say("%e", call3(SYS_MPROTECT, (long)place(claim->a), (long)claim->b, (long)claim->c));
}

/* Protection of several pages at once is refused as a whole: the first is as before. */
static void protected_partly(const struct claim *claim)
{
	struct request request = { 0 };
	struct outcome outcome;

	load((struct options){ 0 });
	request.in.rbx = place(claim->a);
	outcome = run_code(AT_write, &request);
	must_exit(&outcome, "a write before");
	say("%e, ", call3(SYS_MPROTECT, (long)place(claim->a), (long)claim->b, (long)claim->c));
	outcome = run_code(AT_write, &request);
	say_outcome(&outcome);
}

static void remapped(const struct claim *claim)
{
	long got;

	load((struct options){ 0 });
	got = call6(SYS_MREMAP, (long)place(PAGE_RW), (long)claim->a, (long)claim->b, MREMAP_MAYMOVE, 0, 0);
	say("%e", got < 0 ? got : 0);
}

static void advised(const struct claim *claim)
{
	load((struct options){ 0 });
	say("%e", call3(SYS_MADVISE, (long)place(PAGE_RW), PAGE, (long)claim->a));
}

/* Unmapped and mapped again, the page has what it had. */
static void mapped_again(const struct claim *claim)
{
	struct request request = { 0 };
	struct outcome outcome;

	(void)claim;
	load((struct options){ 0 });
	call3(SYS_MUNMAP, (long)place(PAGE_RW), PAGE, 0);
	say("%e, ", map(PAGE_RW, PAGE, PROT_READ, MAP_SHARED));
	request.in.rbx = place(PAGE_RW);
	outcome = run_code(AT_read, &request);
	must_exit(&outcome, "a read");
	say("%x", request.out.rax);
}

static void personality(const struct claim *claim)
{
	call3(SYS_PERSONALITY, 0x0400000, 0, 0); /* READ_IMPLIES_EXEC */
	load((struct options){ .state = claim->a });
	say("%e", map(PAGE_R, PAGE, PROT_READ, MAP_SHARED));
}

static void closed(const struct claim *claim)
{
	struct request request = { 0 };
	struct outcome outcome;

	(void)claim;
	load((struct options){ 0 });
	call3(SYS_CLOSE, enclave.fd, 0, 0);
	outcome = run_code(AT_nothing, &request);
	say_outcome(&outcome);
}

/* The pages of a part of the enclave that is mapped twice are the same. */
static void mapped_twice(const struct claim *claim)
{
	struct request request = { .in = { .rax = 0x1234 } };
	struct outcome outcome;

	(void)claim;
	load((struct options){ 0 });
	request.in.rbx = place(PAGE_RW);
	outcome = run_code(AT_write, &request);
	must_exit(&outcome, "a write");
	say("%e, ", map(PAGE_RW, PAGE, PROT_READ, MAP_SHARED));
	outcome = run_code(AT_read, &request);
	must_exit(&outcome, "a read");
	say("%x, ", request.out.rax);
	outcome = run_code(AT_write, &request);
	say_outcome(&outcome);
}

static const struct claim rules[] = {
	{ "MAP_PRIVATE", "Linux sgx_get_unmapped_area()", "EINVAL", mapped, PAGE_RW, PAGE, PROT_READ, MAP_PRIVATE },
	{ "all of ELRANGE without access", MAY_MAP, "0", mapped, 0, ENCLAVE_SIZE, PROT_NONE, MAP_SHARED },
	{ "all of ELRANGE to be read, with pages that are not", MAY_MAP, "EACCES", mapped, 0, ENCLAVE_SIZE, PROT_READ, MAP_SHARED },
	{ "behind ELRANGE", MAY_MAP ": outside", "EACCES", mapped, ENCLAVE_SIZE, PAGE, PROT_NONE, MAP_SHARED },
	{ "across the end of ELRANGE", MAY_MAP ": outside", "EACCES", mapped, ENCLAVE_SIZE - PAGE, 2 * PAGE, PROT_NONE, MAP_SHARED },
	{ "before ELRANGE", MAY_MAP ": outside", "EACCES", mapped, -(uint64_t)PAGE, PAGE, PROT_NONE, MAP_SHARED },
	{ "across the beginning of ELRANGE", MAY_MAP ": outside", "EACCES", mapped, -(uint64_t)PAGE, 2 * PAGE, PROT_NONE, MAP_SHARED },
	{ "behind ELRANGE, before INIT", MAY_MAP ": SGX_ENCL_INITIALIZED", "0", mapped_in_state, ENCLAVE_SIZE, PAGE, PROT_READ, ADDED },
	{ "anywhere, before CREATE", MAY_MAP ": SGX_ENCL_INITIALIZED", "0", mapped_in_state, 0, PAGE, PROT_READ | PROT_WRITE, OPENED },
	{ "where no page is yet, with all permissions", MAY_MAP, "0", mapped, HOLE, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_SHARED },
	{ "pages that allow more and less", MAY_MAP, "EACCES", mapped, PAGE_RW, 5 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED },
	{ "pages that both allow it", MAY_MAP, "0", mapped, PAGE_RW, 5 * PAGE, PROT_READ, MAP_SHARED },
	{ "length 0", "Linux do_mmap()", "EINVAL", mapped, PAGE_RW, 0, PROT_READ, MAP_SHARED },
	{ "an address that is not of pages", "Linux do_mmap()", "EINVAL", mapped, PAGE_RW + 8, PAGE, PROT_READ, MAP_SHARED },
	{ "mprotect of an address that is not of pages", "Linux do_mprotect_pkey()", "EINVAL", protected, PAGE_RW + 8, PAGE, PROT_READ, 0 },
	{ "mprotect of nothing", "Linux do_mprotect_pkey()", "0", protected, PAGE_RW, 0, PROT_READ, 0 },
	{ "mprotect of what overflows", "Linux do_mprotect_pkey()", "ENOMEM", protected, PAGE_RW, -(uint64_t)PAGE, PROT_READ, 0 },
	{ "mprotect across mappings, one of which allows less", "Linux sgx_vma_mprotect()", "EACCES", protected, PAGE_RWX, 5 * PAGE, PROT_READ | PROT_WRITE, 0 },
	{ "mprotect where no page is yet, with all permissions", "Linux sgx_vma_mprotect()", "0", protected, HOLE, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, 0 },
	{ "mprotect that is refused changes nothing", "Linux sgx_vma_mprotect()", "EACCES, EEXIT", protected_partly, PAGE_RW, 4 * PAGE, PROT_READ | PROT_EXEC, 0 },
	{ "mprotect that takes W away", "Linux sgx_vma_mprotect()", "0, AEX: #PF 0x7 at page_rw", protected_partly, PAGE_RW, PAGE, PROT_READ, 0 },
	{ "mremap to more", "Linux VM_DONTEXPAND", "EFAULT", remapped, PAGE, 2 * PAGE, 0, 0 },
	{ "mremap to less", "Linux mremap()", "0", remapped, 2 * PAGE, PAGE, 0, 0 },
	{ "madvise(MADV_DONTNEED)", "Linux madvise_dontneed_free_valid_vma(): VM_PFNMAP", "EINVAL", advised, MADV_DONTNEED, 0, 0, 0 },
	{ "unmapped and mapped again", "Linux sgx_vma_fault()", "0, 0xc3c3c3c3c3c3c3c3", mapped_again, 0, 0, 0, 0 },
	{ "mapped over", "Linux sgx_vma_fault()", "0, 0x1234, AEX: #PF 0x7 at page_rw", mapped_twice, 0, 0, 0, 0 },
	{ "by a process with READ_IMPLIES_EXEC", MAY_MAP ": READ_IMPLIES_EXEC", "EACCES", personality, ADDED, 0, 0, 0 },
	{ "the mapping keeps the enclave when the descriptor is closed", "Linux sgx_release()", "EEXIT", closed, 0, 0, 0, 0 },
};
GROUP(mapping_group, "mapping", "other rules of mmap, mprotect, mremap and madvise", rules);
