/* ENCLU_SGX_IOC_DEBUG_ACCESS: what EDBGRD and EDBGWR give a debugger of a debug enclave, and of no other. */
#include "fault.h"

#define ATTRIBUTES_DEBUG 2

static struct enclave enclave;
static uint64_t count;

/* 0 or an errno; `count` is what came back. */
static int access_memory(const void *address, void *buffer, uint64_t length, uint64_t flags)
{
	struct enclu_sgx_debug_access access = { (uint64_t)address, (uint64_t)buffer, length, flags, 77 };
	int error = ioctl(enclave.fd, ENCLU_SGX_IOC_DEBUG_ACCESS, &access) ? errno : 0;

	count = access.count;
	return error;
}

static int read_memory(const void *address, void *buffer, uint64_t length)
{
	return access_memory(address, buffer, length, 0);
}

static int write_memory(const void *address, const void *buffer, uint64_t length)
{
	return access_memory(address, (void *)buffer, length, ENCLU_SGX_DEBUG_WRITE);
}

static void memory(void)
{
	void *tcs = enclave_tcs(&enclave, 0);
	uint8_t *heap = enclave.base + enclave.heap, buffer[2 * PAGE], letters[] = "debugger";
	uint64_t word = 0;

	ask(tcs, OP_WRITE, (uint64_t)heap, 0x1122334455667788, 0);
	ok_eq(read_memory(heap, &word, 8), 0, "a word is read");
	ok_eq(word, 0x1122334455667788, "as the enclave wrote it");
	ok_eq(count, 8, "and counted");
	ok_eq(write_memory(heap + PAGE - 3, letters, 8), 0, "eight bytes are written across two pages");
	ok_eq(ask(tcs, OP_READ, (uint64_t)heap + PAGE - 8, 0, 0), 0x6265640000000000, "the enclave reads the first three");
	ok_eq(ask(tcs, OP_READ, (uint64_t)heap + PAGE, 0, 0), 0x0000007265676775, "and the others");
	ok_eq(read_memory(heap, buffer, 2 * PAGE), 0, "two pages are read");
	ok(!memcmp(buffer + PAGE - 3, letters, 8), "and are as written");
	ok_eq(read_memory(enclave.base + enclave.text, buffer, 16), 0, "code is read");
	ok_eq(write_memory(enclave.base + enclave.text, buffer, 16), 0, "and written, whatever the EPCM says");
}

static void frame_of_an_exception(void)
{
	struct request request = { .op = OP_INSTRUCTION, .a = INSN_IN };
	void *tcs = enclave_tcs(&enclave, 0);
	uint64_t gprsgx[23];

	expect_fault("IN", attempt(tcs, &request, EENTER), ERESUME, 6, 0, 0);
	ok_eq(read_memory(enclave_ssa(&enclave, 0, 0) + PAGE - sizeof(gprsgx), gprsgx, sizeof(gprsgx)), 0, "GPRSGX is read");
	ok_eq(gprsgx[17], request.rip, "RIP is at the IN");
	ok_eq((uint32_t)gprsgx[20], 0x80000306, "EXITINFO tells #UD");
	drop_frame(tcs);
}

static void tcs(void)
{
	uint8_t buffer[PAGE], *tcs = enclave_tcs(&enclave, 1);
	uint64_t optin = 1, zero = 0;

	ok_eq(read_memory(tcs, buffer, PAGE), EIO, "a TCS is read");
	ok_eq(count, 72, "as far as it goes");
	ok_eq(((uint32_t *)buffer)[7], 3, "with NSSA");
	ok_eq(write_memory(tcs + 32, &zero, 8), EIO, "OENTRY cannot be written");
	ok_eq(write_memory(tcs + 8, &optin, 1), 0, "FLAGS can, also in part");
	ok_eq(read_memory(tcs + 8, &zero, 8), 0, "and be read");
	ok_eq(zero, 1, "DBGOPTIN");
	ok_eq(ask(tcs, OP_ADD, 40, 2, 0), 42, "the enclave is entered as ever");
	optin = 2;
	ok_eq(write_memory(tcs + 8, &optin, 8), 0, "reserved bits can be written");
	ok_eq(attempt(tcs, &(struct request){ .op = OP_NOP }, EENTER).vector, 13, "and keep everybody out");
}

static void errors(void)
{
	uint8_t buffer[16], *heap = enclave.base + enclave.heap, *spare = enclave.base + enclave.spare;
	void *unmapped = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ok_eq(access_memory(heap, buffer, 8, 2), EINVAL, "unknown flags");
	ok_eq(count, 77, "count is left alone");
	ok_eq(ioctl(enclave.fd, ENCLU_SGX_IOC_DEBUG_ACCESS, 16) ? errno : 0, EFAULT, "no structure");
	ok_eq(read_memory(buffer, buffer, 8), EFAULT, "not in an enclave");
	ok_eq(count, 0, "nothing is read");
	ok_eq(read_memory(spare, buffer, 8), EFAULT, "no page there");
	ok_eq(read_memory(heap, NULL, 8), EFAULT, "no room for it");
	munmap((uint8_t *)unmapped + PAGE, PAGE);
	ok_eq(read_memory(heap, (uint8_t *)unmapped, 2 * PAGE), EFAULT, "room for one page only");
	ok_eq(count, PAGE, "one is read");
	ok_eq(read_memory(heap, buffer, 0), 0, "nothing to read");
	attempt(enclave_tcs(&enclave, 0), &(struct request){ .op = OP_WRITE, .a = (uint64_t)spare }, EENTER);
	drop_frame(enclave_tcs(&enclave, 0));
	ok_eq(read_memory(spare, buffer, 8), EIO, "a page that waits for EACCEPT");
}

static int child(void)
{
	uint64_t word;

	return read_memory(enclave.base + enclave.heap, &word, 8);
}

static void lost(void)
{
	uint64_t word;

	ok_eq(ioctl(enclave.fd, ENCLU_SGX_IOC_DROP_EPC), 0, "a power event");
	ok_eq(read_memory(enclave.base + enclave.heap, &word, 8), EIO, "what is lost cannot be read");
}

int main(void)
{
	struct enclave_options options = { .heap_pages = 2, .spare_pages = 1, .attributes = ATTRIBUTES_DEBUG };
	uint64_t word;

	enclave_load(&enclave, &options);
	memory();
	frame_of_an_exception();
	tcs();
	errors();
	ok_eq(in_child(child), EFAULT, "a forked child has no enclave");
	lost();
	enclave_unload(&enclave);
	options.attributes = 0;
	enclave_load(&enclave, &options);
	ok_eq(read_memory(enclave.base + enclave.heap, &word, 8), EFAULT, "a production enclave is not read");
	ok_eq(write_memory(enclave.base + enclave.heap, &word, 8), EFAULT, "nor written");
	ok_eq(read_memory(enclave_tcs(&enclave, 0), &word, 8), EFAULT, "nor its TCS");
	return done();
}
