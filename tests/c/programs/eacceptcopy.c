/* EACCEPTCOPY fills a pending page from another one, with the permissions asked for; all else is refused. */
#include "enclave.h"

#define MISMATCH 19
#define EPCM_READ 0x8005

static struct enclave enclave;
static void *tcs;

static void refused(const char *name, uint64_t target, uint64_t flags, uint64_t source, int vector, int error, uint64_t at)
{
	struct request request = { .op = OP_EACCEPTCOPY, .a = target, .b = flags, .c = source };

	expect_fault(name, attempt(tcs, &request, EENTER), ERESUME, vector, error, at);
	drop_frame(tcs);
}

int main(void)
{
	struct enclave_options options = { .heap_pages = 2, .spare_pages = 6 };
	struct request write = { .op = OP_WRITE };
	uint64_t heap, spare;

	enclave_load(&enclave, &options);
	tcs = enclave_tcs(&enclave, 0);
	heap = (uint64_t)enclave.base + enclave.heap;
	spare = (uint64_t)enclave.base + enclave.spare;
	ask(tcs, OP_WRITE, heap + 0xff8, 0x1234567890, 0);

	ok_eq(ask(tcs, OP_EACCEPTCOPY, spare, PT_REG_FLAGS | 3, heap), 0, "read and write");
	ok_eq(ask(tcs, OP_READ, spare + 0xff8, 0, 0), 0x1234567890, "the contents are the source's");
	ask(tcs, OP_WRITE, spare, 1, 0);
	ok_eq(ask(tcs, OP_EACCEPTCOPY, spare, PT_REG_FLAGS | 3, heap), MISMATCH, "again: not pending any more");
	ok_eq(ask(tcs, OP_EACCEPTCOPY, heap + PAGE, PT_REG_FLAGS | 3, heap), MISMATCH, "a page that never was");
	ok_eq(ask(tcs, OP_EACCEPTCOPY, spare + PAGE, PT_REG_FLAGS | 1, heap), 0, "read only");
	ok_eq(ask(tcs, OP_READ, spare + PAGE + 0xff8, 0, 0), 0x1234567890, "it can be read");
	write.a = spare + PAGE;
	expect_fault("and not written", attempt(tcs, &write, EENTER), ERESUME, 14, 0x8007, spare + PAGE);
	drop_frame(tcs);

	refused("write without read", spare + 2 * PAGE, PT_REG_FLAGS | 2, heap, 13, 0, 0);
	refused("PT_TCS", spare + 2 * PAGE, PT_TCS_FLAGS, heap, 13, 0, 0);
	refused("a reserved flag", spare + 2 * PAGE, PT_REG_FLAGS | 3 | 0x40, heap, 13, 0, 0);
	refused("a pending source", spare + 2 * PAGE, PT_REG_FLAGS | 3, spare + 3 * PAGE, 14, EPCM_READ, spare + 3 * PAGE);
	refused("a TCS as source", spare + 2 * PAGE, PT_REG_FLAGS | 3, (uint64_t)enclave.base + PAGE, 14, EPCM_READ,
		(uint64_t)enclave.base + PAGE);
	refused("the source outside", spare + 2 * PAGE, PT_REG_FLAGS | 3, (uint64_t)&enclave & -PAGE, 13, 0, 0);
	ok_eq(ask(tcs, OP_EACCEPTCOPY, spare + 2 * PAGE, PT_REG_FLAGS | 3, heap), 0, "the page is still pending after all that");
	return done();
}
