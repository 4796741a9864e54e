/* A #PF of an enclave has the exact error code, outside and in EXINFO; only EXINFO has the whole address. */
#include "enclave.h"

#define W 2
#define USER 4
#define FETCH 0x10
#define SGX 0x8000
#define TRIMMED (PT_TRIM_FLAGS | 0x10)

static struct enclave enclave;
static void *tcs;

static void expect(const char *name, uint64_t op, uint64_t address, int code)
{
	struct request request = { .op = op, .a = address }, fix = { .op = OP_FIX_RIP };

	expect_fault(name, attempt(tcs, &request, EENTER), ERESUME, 14, code, address & -PAGE);
	attempt(tcs, &fix, EENTER);
	ok(fix.exitinfo == 0x8000030e && fix.exinfo_error == (uint64_t)code && fix.exinfo_address == address,
	   "EXITINFO %#llx, ERRCD %#llx, MADDR %#llx", (unsigned long long)fix.exitinfo,
	   (unsigned long long)fix.exinfo_error, (unsigned long long)fix.exinfo_address);
	drop_frame(tcs);
}

static void restrict_to(uint64_t address, int permissions)
{
	struct sgx_enclave_restrict_permissions restriction = { .offset = address - (uint64_t)enclave.base, .length = PAGE,
		.permissions = permissions };

	ioctl(enclave.fd, SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS, &restriction);
	ask(tcs, OP_EACCEPT, address, PT_REG_FLAGS | 0x20 | permissions, 0);
}

int main(void)
{
	struct enclave_options options = { .heap_pages = 8, .spare_pages = 4, .miscselect = 1 };
	struct sgx_enclave_modify_types trim = { .length = PAGE, .page_type = 4 };
	char *plain = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t memory = (uint64_t)plain, heap, spare;

	enclave_load(&enclave, &options);
	tcs = enclave_tcs(&enclave, 0);
	heap = (uint64_t)enclave.base + enclave.heap;
	spare = (uint64_t)enclave.base + enclave.spare;
	for (int i = 0; i < 8; i++)
		ask(tcs, OP_WRITE, heap + i * PAGE, i, 0);

	mprotect((void *)heap, PAGE, PROT_NONE);
	expect("the VMA forbids all: read", OP_READ, heap + 0x123, USER);
	expect("the VMA forbids all: write", OP_WRITE, heap + 0x123, USER | W);
	mprotect((void *)(heap + PAGE), PAGE, PROT_READ);
	expect("the VMA forbids to write", OP_WRITE, heap + PAGE + 8, USER | W | 1);
	expect("the VMA forbids to fetch", OP_JUMP, heap + 2 * PAGE, USER | FETCH | 1);
	restrict_to(heap + 3 * PAGE, 1);
	expect("the EPCM forbids to write", OP_WRITE, heap + 3 * PAGE + 0xff8, SGX | USER | W | 1);
	restrict_to(heap + 4 * PAGE, 0);
	expect("the EPCM forbids to read", OP_READ, heap + 4 * PAGE, SGX | USER | 1);
	expect("a TCS", OP_READ, (uint64_t)enclave_tcs(&enclave, 2) + 16, SGX | USER | 1);
	expect("a TCS, write", OP_WRITE, (uint64_t)enclave_tcs(&enclave, 2) + 16, SGX | USER | W | 1);
	trim.offset = enclave.heap + 5 * PAGE;
	ioctl(enclave.fd, SGX_IOC_ENCLAVE_MODIFY_TYPES, &trim);
	expect("a modified page", OP_READ, heap + 5 * PAGE, SGX | USER | 1);
	ask(tcs, OP_EACCEPT, heap + 5 * PAGE, TRIMMED, 0);
	expect("a trimmed page", OP_READ, heap + 5 * PAGE, SGX | USER | 1);

	expect("a pending page, read", OP_READ, spare, SGX | USER | 1);
	expect("a pending page, written", OP_WRITE, spare, SGX | USER | W | 1);
	ask(tcs, OP_EACCEPT, spare, PT_REG_FLAGS | 8 | 3, 0);
	mprotect((void *)spare, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC);
	ask(tcs, OP_WRITE, spare, 0xc3, 0);
	expect("the EPCM forbids to fetch", OP_JUMP, spare, SGX | USER | FETCH | 1);
	munmap((void *)(spare + PAGE), PAGE);
	expect("nothing mapped in ELRANGE", OP_READ, spare + PAGE + 1, USER);

	munmap(plain + PAGE, PAGE);
	expect("nothing mapped outside: read", OP_READ, memory + PAGE + 0x10, USER);
	expect("nothing mapped outside: write", OP_WRITE, memory + PAGE + 0x10, USER | W);
	plain[2 * PAGE] = 1;
	mprotect(plain + 2 * PAGE, PAGE, PROT_READ);
	expect("read-only memory outside", OP_WRITE, memory + 2 * PAGE + 0x20, USER | W | 1);
	mprotect(plain + 3 * PAGE, PAGE, PROT_NONE);
	expect("inaccessible memory outside", OP_READ, memory + 3 * PAGE, USER);
	expect("the kernel's addresses", OP_READ, 0xffff888000000000, USER | 1);
	return done();
}
