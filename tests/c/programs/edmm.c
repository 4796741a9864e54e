/* SGX2: a page added on its fault, restricted, extended, trimmed and removed. */
#include "enclave.h"

static struct enclave enclave;
static void *tcs;

static struct outcome touch(uint64_t op, uint64_t address, uint64_t value)
{
	struct request request = { .op = op, .a = address, .b = value };

	return attempt(tcs, &request, EENTER);
}

int main(void)
{
	struct enclave_options options = { .heap_pages = 1, .spare_pages = 2 };
	struct sgx_enclave_restrict_permissions restriction = { .length = PAGE, .permissions = 1 };
	struct sgx_enclave_modify_types types = { .length = PAGE, .page_type = 4 };
	struct sgx_enclave_remove_pages removal = { .length = PAGE };
	uint64_t heap, spare;

	enclave_load(&enclave, &options);
	tcs = enclave_tcs(&enclave, 1);
	heap = (uint64_t)enclave.base + enclave.heap;
	spare = (uint64_t)enclave.base + enclave.spare;

	ok_eq(ask(tcs, OP_EACCEPT, spare, PT_REG_FLAGS | 8 | 3, 0), 0, "EACCEPT of a page augmented by its fault");
	ask(tcs, OP_WRITE, spare, 77, 0);
	ok_eq(ask(tcs, OP_READ, spare, 0, 0), 77, "the new page holds data");

	restriction.offset = enclave.heap;
	ok_eq(ioctl(enclave.fd, SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS, &restriction), 0, "restrict to read");
	ok_eq(restriction.count, PAGE, "count");
	ok_eq(ask(tcs, OP_EACCEPT, heap, PT_REG_FLAGS | 0x20 | 1, 0), 0, "EACCEPT of it");
	expect_fault("a write faults by the EPCM", touch(OP_WRITE, heap, 1), ERESUME, 14, 0x8007, heap);
	ask(tcs, OP_EMODPE, heap, PT_REG_FLAGS | 3, 0);
	expect_exit("EMODPE extends again", touch(OP_WRITE, heap, 5));

	types.offset = enclave.spare;
	ok_eq(ioctl(enclave.fd, SGX_IOC_ENCLAVE_MODIFY_TYPES, &types), 0, "trim");
	ok_eq(ask(tcs, OP_EACCEPT, spare, PT_TRIM_FLAGS | 0x10, 0), 0, "EACCEPT of the trim");
	removal.offset = enclave.spare;
	ok_eq(ioctl(enclave.fd, SGX_IOC_ENCLAVE_REMOVE_PAGES, &removal), 0, "removed");
	ok_eq(removal.count, PAGE, "count");
	removal.count = 0;
	ok_eq(ioctl(enclave.fd, SGX_IOC_ENCLAVE_REMOVE_PAGES, &removal) ? errno : 0, EFAULT, "not there any more");
	return done();
}
