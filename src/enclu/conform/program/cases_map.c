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
	call3(SYS_PERSONALITY, READ_IMPLIES_EXEC, 0, 0);
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

/* mmap(2) of the device, all of whose arguments are the case's; a: an address, or the place in ELRANGE that it stands for. */
static long map_any(uint64_t address, uint64_t length, uint64_t flags, uint64_t offset)
{
	long got = call6(SYS_MMAP, (long)address, (long)length, PROT_READ, (long)flags, enclave.fd, (long)offset);

	return got < 0 ? got : 0;
}

static void mapped_at(const struct claim *claim)
{
	load((struct options){ 0 });
	say("%e", map_any(claim->a, claim->b, claim->c, claim->d));
}

/* a: an offset of the file. */
static void mapped_from(const struct claim *claim)
{
	struct request request = { 0 };
	struct outcome outcome;
	long result;

	load((struct options){ 0 });
	result = map_any(place(PAGE_R), PAGE, MAP_SHARED | MAP_FIXED, claim->a);
	say("%e", result);
	request.in.rbx = place(PAGE_R);
	outcome = run_code(AT_read, &request);
	say(", ");
	say_outcome(&outcome);
}

/* With the flags a; b: nothing is mapped there. */
static void mapped_with(const struct claim *claim)
{
	load((struct options){ 0 });
	if (claim->b && call3(SYS_MUNMAP, (long)place(HOLE), PAGE, 0))
		broken("munmap");
	say("%e", map_any(place(HOLE), PAGE, claim->a, 0));
}

/* Something is mapped there: msync(2) that does nothing finds gaps. */
static void say_whether_mapped(uint64_t offset)
{
	say(call3(SYS_MSYNC, (long)place(offset), PAGE, MS_ASYNC) ? ", a gap" : ", mapped");
}

/* A page is mapped over with a protection that it may not have, b, and flags that may be wrong, c. */
static void refused_over(const struct claim *claim)
{
	load((struct options){ 0 });
	say("%e", map(claim->a, PAGE, claim->b, claim->c));
	say_whether_mapped(claim->a);
}

/* The device is opened with the flags a; its mapping has b, and, where c says so, gets d afterwards. */
static void opened_as(const struct claim *claim)
{
	long got;

	load((struct options){ .state = OPENED });
	enclave.fd = (int)call3(SYS_OPEN, (long)"/dev/sgx_enclave", (long)claim->a, 0);
	if (enclave.fd < 0)
		broken("open: %e", (long)enclave.fd);
	got = call6(SYS_MMAP, (long)enclave.base, PAGE, (long)claim->b, MAP_SHARED, enclave.fd, 0);
	if (got < 0 || !claim->c)
		say("%e", got < 0 ? got : 0);
	else
		say("%e", call3(SYS_MPROTECT, got, PAGE, (long)claim->d));
}

/* What was mapped before is as it was. */
static void opened_as_over(const struct claim *claim)
{
	(void)claim;
	load((struct options){ 0 });
	enclave.fd = (int)call3(SYS_OPEN, (long)"/dev/sgx_enclave", O_RDONLY, 0);
	say("%e", map(HOLE, PAGE, PROT_WRITE, MAP_SHARED));
	say_whether_mapped(HOLE);
}

static void provision_mapped(const struct claim *claim)
{
	load((struct options){ .state = OPENED });
	enclave.fd = (int)call3(SYS_OPEN, (long)"/dev/sgx_provision", O_RDWR, 0);
	if (enclave.fd < 0)
		unsupported("/dev/sgx_provision cannot be opened");
	say("%e", map_any(0, PAGE, claim->a, 0));
}

/* read(2), or write(2), of the device. */
static void transferred(const struct claim *claim)
{
	long got;

	load((struct options){ .state = OPENED });
	got = call3((long)claim->a, enclave.fd, (long)memory, 8);
	if (got < 0)
		say("%e", got);
	else
		say("%d bytes", (uint64_t)got);
}

/* mprotect(2) of two pages, where nothing is mapped at the second. */
static void protected_up_to_gap(const struct claim *claim)
{
	struct request request = { 0 };
	struct outcome outcome;

	(void)claim;
	load((struct options){ 0 });
	if (call3(SYS_MUNMAP, (long)place(PAGE_RW + PAGE), PAGE, 0))
		broken("munmap");
	request.in.rbx = place(PAGE_RW);
	outcome = run_code(AT_write, &request);
	must_exit(&outcome, "a write before");
	say("%e, ", call3(SYS_MPROTECT, (long)place(PAGE_RW), 2 * PAGE, PROT_READ));
	outcome = run_code(AT_write, &request);
	say_outcome(&outcome);
}

/* mprotect(2) of a page of an enclave that is loaded, by who executes whatever can be read. */
static void protected_by_personality(const struct claim *claim)
{
	load((struct options){ 0 });
	call3(SYS_PERSONALITY, READ_IMPLIES_EXEC, 0, 0);
	say("%e", call3(SYS_MPROTECT, (long)place(PAGE_R), PAGE, (long)claim->a));
}

static void remapped_with(const struct claim *claim)
{
	long got, to = (long)reserve(PAGE);
	struct request request = { 0 };
	struct outcome outcome;

	load((struct options){ 0 });
	got = call6(SYS_MREMAP, (long)place(PAGE_RW), (long)claim->b, PAGE, (long)claim->a, to, 0);
	say("%e", got < 0 ? got : 0);
	if (got < 0)
		return;
	request.in.rbx = place(PAGE_RW);
	outcome = run_code(AT_read, &request);
	say(", ");
	say_outcome(&outcome);
}

static void synchronised(const struct claim *claim)
{
	load((struct options){ 0 });
	say("%e", call3(SYS_MSYNC, (long)place(PAGE_RW), PAGE, (long)claim->a));
}

/* The page was mapped with everything before it was added with X alone. */
static void mapped_before(const struct claim *claim)
{
	struct request request = { 0 };
	struct outcome outcome;

	load((struct options){ .mapped_before = PAGE_X });
	request.in.rbx = request.in.rax = place(PAGE_X);
	outcome = run_code(claim->a, &request);
	say_outcome(&outcome);
	if (outcome.how == AEX)
		say(", signal %d, code %d", (uint64_t)outcome.signo, (uint64_t)outcome.code);
}

/* A child of fork(2) enters the enclave that it has inherited. */
static void entered_by_child(const struct claim *claim)
{
	struct request request = { 0 };
	struct outcome outcome;
	int status;
	long child;

	(void)claim;
	load((struct options){ 0 });
	child = call6(SYS_CLONE, 17, 0, 0, 0, 0, 0); /* SIGCHLD: fork(2) */
	if (child == 0) {
		outcome = run_code(AT_nothing, &request);
		say_outcome(&outcome);
		end_case(OBSERVED);
	}
	while (call6(SYS_WAIT4, child, (long)&status, 0, 0, 0, 0) == -EINTR)
		;
}

#define TYPE_SAYS "Linux do_mmap(): MAP_TYPE"
#define MODE_SAYS "Linux do_mmap(): f_mode"
#define ADVICE_SAYS "Linux madvise_vma_behavior(), can_madv_lru_vma(): VM_IO, VM_PFNMAP"
#define KERNEL_HALF 0xffff888000000000
static const struct claim rules[] = {
	{ "length that cannot be rounded up", "Linux do_mmap(): PAGE_ALIGN()", "ENOMEM", mapped, PAGE_RW, ~0ull, PROT_READ, MAP_SHARED },
	{ "length of more than user memory", "Linux get_unmapped_area(): TASK_SIZE", "ENOMEM", mapped_at, 0, 1ull << 57, MAP_SHARED, 0 },
	{ "length of more than user memory, MAP_PRIVATE", "Linux get_unmapped_area(): TASK_SIZE comes first", "ENOMEM", mapped_at, 0, 1ull << 57, MAP_PRIVATE, 0 },
	{ "MAP_FIXED in the kernel's half", "Linux get_unmapped_area(): TASK_SIZE", "ENOMEM", mapped_at, KERNEL_HALF, PAGE, MAP_SHARED | MAP_FIXED, 0 },
	{ "MAP_FIXED in the kernel's half, not of pages", "Linux get_unmapped_area(): TASK_SIZE comes first", "ENOMEM", mapped_at, KERNEL_HALF + 8, PAGE, MAP_SHARED | MAP_FIXED, 0 },
	{ "MAP_FIXED in the kernel's half, MAP_PRIVATE", "Linux sgx_get_unmapped_area() comes first", "EINVAL", mapped_at, KERNEL_HALF, PAGE, MAP_PRIVATE | MAP_FIXED, 0 },
	{ "an offset within a page", "Linux sys_mmap()", "EINVAL", mapped_at, 0, PAGE, MAP_SHARED, 8 },
	{ "an offset within a page comes before the length", "Linux sys_mmap()", "EINVAL", mapped_at, 0, ~0ull, MAP_SHARED, 8 },
	{ "an offset of a page is not looked at", "Linux sgx_mmap()", "0, EEXIT", mapped_from, PAGE, 0, 0, 0 },
	{ "an offset beyond the end is not looked at", "Linux sgx_mmap()", "0, EEXIT", mapped_from, 1ull << 40, 0, 0, 0 },
	{ "an offset that no file has", "Linux file_mmap_ok()", "EOVERFLOW, EEXIT", mapped_from, -(uint64_t)PAGE, 0, 0, 0 },
	{ "MAP_SHARED_VALIDATE", TYPE_SAYS, "0", mapped_with, MAP_SHARED_VALIDATE | MAP_FIXED, 0, 0, 0 },
	{ "MAP_SHARED_VALIDATE with MAP_SYNC", TYPE_SAYS ": mmap_supported_flags", "EOPNOTSUPP", mapped_with, MAP_SHARED_VALIDATE | MAP_FIXED | MAP_SYNC, 0, 0, 0 },
	{ "MAP_SHARED with MAP_SYNC", TYPE_SAYS ": LEGACY_MAP_MASK", "0", mapped_with, MAP_SHARED | MAP_FIXED | MAP_SYNC, 0, 0, 0 },
	{ "MAP_SHARED_VALIDATE with MAP_FIXED_NOREPLACE", TYPE_SAYS ": LEGACY_MAP_MASK has it not", "EOPNOTSUPP", mapped_with, MAP_SHARED_VALIDATE | MAP_FIXED_NOREPLACE, 1, 0, 0 },
	{ "MAP_FIXED_NOREPLACE where nothing is mapped", "Linux do_mmap()", "0", mapped_with, MAP_SHARED | MAP_FIXED_NOREPLACE, 1, 0, 0 },
	{ "MAP_FIXED_NOREPLACE where something is mapped", "Linux do_mmap()", "EEXIST", mapped_with, MAP_SHARED | MAP_FIXED_NOREPLACE, 0, 0, 0 },
	{ "MAP_TYPE 0", TYPE_SAYS, "EINVAL", mapped_with, MAP_FIXED, 0, 0, 0 },
	{ "MAP_TYPE 4", TYPE_SAYS, "EINVAL", mapped_with, MAP_FIXED | 4, 0, 0, 0 },
	{ "MAP_HUGETLB", "Linux ksys_mmap_pgoff()", "EINVAL", mapped_with, MAP_SHARED | MAP_FIXED | MAP_HUGETLB, 0, 0, 0 },
	{ "MAP_GROWSDOWN", "Linux do_mmap()", "EINVAL", mapped_with, MAP_SHARED | MAP_FIXED | MAP_GROWSDOWN, 0, 0, 0 },
	{ "MAP_POPULATE adds nothing and is no error", "Linux __mm_populate(): VM_PFNMAP", "0", mapped_with, MAP_SHARED | MAP_FIXED | MAP_POPULATE, 0, 0, 0 },
	{ "more than the page allows, over it: a gap is left", "Linux mmap_region() unmaps before sgx_mmap()", "EACCES, a gap", refused_over, PAGE_R, PROT_READ | PROT_WRITE, MAP_SHARED, 0 },
	{ "more than the page allows, MAP_PRIVATE: nothing is unmapped", "Linux sgx_get_unmapped_area() comes first", "EINVAL, mapped", refused_over, PAGE_R, PROT_READ | PROT_WRITE, MAP_PRIVATE, 0 },
	{ "more than the page allows, MAP_TYPE 0: nothing is unmapped", TYPE_SAYS " comes first", "EINVAL, mapped", refused_over, PAGE_R, PROT_READ | PROT_WRITE, 0, 0 },
	{ "more than the page allows, MAP_SYNC: nothing is unmapped", TYPE_SAYS " comes first", "EOPNOTSUPP, mapped", refused_over, PAGE_R, PROT_READ | PROT_WRITE, MAP_SHARED_VALIDATE | MAP_SYNC, 0 },
	{ "opened to be read: mapped to be read", MODE_SAYS, "0", opened_as, O_RDONLY, PROT_READ, 0, 0 },
	{ "opened to be read: mapped to be executed", MODE_SAYS, "0", opened_as, O_RDONLY, PROT_READ | PROT_EXEC, 0, 0 },
	{ "opened to be read: mapped to be written", MODE_SAYS, "EACCES", opened_as, O_RDONLY, PROT_WRITE, 0, 0 },
	{ "opened to be read: mprotect to be executed", "Linux do_mprotect_pkey(): VM_MAYEXEC", "0", opened_as, O_RDONLY, PROT_READ, 1, PROT_READ | PROT_EXEC },
	{ "opened to be read: mprotect to be written", "Linux do_mprotect_pkey(): VM_MAYWRITE", "EACCES", opened_as, O_RDONLY, PROT_READ, 1, PROT_READ | PROT_WRITE },
	{ "opened to be read: a refusal unmaps nothing", MODE_SAYS " comes before mmap_region()", "EACCES, mapped", opened_as_over, 0, 0, 0, 0 },
	{ "opened to be written: mapped without access", MODE_SAYS, "EACCES", opened_as, O_WRONLY, PROT_NONE, 0, 0 },
	{ "opened to be written: mapped to be written", MODE_SAYS, "EACCES", opened_as, O_WRONLY, PROT_WRITE, 0, 0 },
	{ "opened for ioctls alone: mapped without access", MODE_SAYS, "EACCES", opened_as, O_ACCMODE, PROT_NONE, 0, 0 },
	{ "/dev/sgx_provision", "Linux do_mmap(): f_op->mmap", "ENODEV", provision_mapped, MAP_SHARED, 0, 0, 0 },
	{ "/dev/sgx_provision, MAP_PRIVATE", "Linux do_mmap(): f_op->mmap", "ENODEV", provision_mapped, MAP_PRIVATE, 0, 0, 0 },
	{ "read of the device", "Linux vfs_read(): FMODE_CAN_READ", "EINVAL", transferred, SYS_READ, 0, 0, 0 },
	{ "write of the device", "Linux vfs_write(): FMODE_CAN_WRITE", "EINVAL", transferred, SYS_WRITE, 0, 0, 0 },
	{ "mprotect up to a gap: what lies before it has changed", "Linux do_mprotect_pkey()", "ENOMEM, AEX: #PF 0x7 at page_rw", protected_up_to_gap, 0, 0, 0, 0 },
	{ "mprotect to nothing by a process with READ_IMPLIES_EXEC", MAY_MAP ": READ_IMPLIES_EXEC", "EACCES", protected_by_personality, PROT_NONE, 0, 0, 0 },
	{ "mprotect by a process with READ_IMPLIES_EXEC", MAY_MAP ": READ_IMPLIES_EXEC", "EACCES", protected_by_personality, PROT_READ, 0, 0, 0 },
	{ "mremap to another address", "Linux move_vma()", "0, AEX: #PF 0x4 at page_rw", remapped_with, MREMAP_MAYMOVE | MREMAP_FIXED, PAGE, 0, 0 },
	{ "mremap that leaves a copy", "Linux mremap(): VM_DONTEXPAND", "EINVAL", remapped_with, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, PAGE, 0, 0 },
	{ "mremap of nothing, which would map it twice", "Linux mremap(): VM_DONTEXPAND", "EFAULT", remapped_with, MREMAP_MAYMOVE, 0, 0, 0 },
	{ "msync(MS_ASYNC)", "Linux msync()", "0", synchronised, MS_ASYNC, 0, 0, 0 },
	{ "msync(MS_SYNC)", "Linux vfs_fsync_range(): f_op->fsync", "EINVAL", synchronised, MS_SYNC, 0, 0, 0 },
	{ "madvise(MADV_FREE)", "Linux madvise_dontneed_free_valid_vma(): VM_PFNMAP", "EINVAL", advised, MADV_FREE, 0, 0, 0 },
	{ "madvise(MADV_DONTFORK)", ADVICE_SAYS, "0", advised, MADV_DONTFORK, 0, 0, 0 },
	{ "madvise(MADV_DOFORK)", ADVICE_SAYS, "EINVAL", advised, MADV_DOFORK, 0, 0, 0 },
	{ "madvise(MADV_DONTDUMP)", ADVICE_SAYS, "0", advised, MADV_DONTDUMP, 0, 0, 0 },
	{ "madvise(MADV_DODUMP)", ADVICE_SAYS, "EINVAL", advised, MADV_DODUMP, 0, 0, 0 },
	{ "madvise(MADV_WIPEONFORK)", "Linux madvise_vma_behavior(): vm_file", "EINVAL", advised, MADV_WIPEONFORK, 0, 0, 0 },
	{ "madvise(MADV_COLD)", ADVICE_SAYS, "EINVAL", advised, MADV_COLD, 0, 0, 0 },
	{ "madvise(MADV_PAGEOUT)", ADVICE_SAYS, "EINVAL", advised, MADV_PAGEOUT, 0, 0, 0 },
	{ "a mapping older than its page, which has more: read", "Linux sgx_encl_load_page_in_vma(): SIGBUS", "AEX: #PF 0x4 at page_x, signal 7, code 2", mapped_before, AT_read, 0, 0, 0 },
	{ "a mapping older than its page, which has more: write", "Linux sgx_encl_load_page_in_vma(): SIGBUS", "AEX: #PF 0x6 at page_x, signal 7, code 2", mapped_before, AT_write, 0, 0, 0 },
	{ "a mapping older than its page, which has more: fetch", "Linux sgx_encl_load_page_in_vma(): SIGBUS", "AEX: #PF 0x14 at page_x, signal 7, code 2", mapped_before, AT_call, 0, 0, 0 },
	{ "a forked child enters", "Linux sgx_vma_open(), sgx_encl_mm_add()", "EEXIT", entered_by_child, 0, 0, 0, 0 },
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
GROUP(mapping_group, "mapping", "other rules of mmap, mprotect, mremap, madvise and fork", rules);
