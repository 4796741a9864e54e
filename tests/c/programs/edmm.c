/* SGX2: pages added on a fault, restricted, extended, made TCSes, trimmed and removed. */
#include "enclave.h"

static struct enclave enclave;

static uint64_t ask(uint64_t op, uint64_t a, uint64_t b, struct sgx_enclave_run *run)
{
	struct request request = { .op = op, .a = a, .b = b };

	enclave_call(enclave_tcs(&enclave, 1), &request, run);
	return request.result;
}

int main(void)
{
	struct enclave_options options = { .heap_pages = 1, .spare_pages = 2 };
	struct sgx_enclave_restrict_permissions restriction = { .length = PAGE, .permissions = 1 };
	struct sgx_enclave_modify_types types = { .length = PAGE, .page_type = 4 };
	struct sgx_enclave_remove_pages removal = { .length = PAGE };
	struct sgx_enclave_run run;
	uint64_t heap, spare;

	enclave_load(&enclave, &options);
	heap = (uint64_t)enclave.base + enclave.heap;
	spare = (uint64_t)enclave.base + enclave.spare;

	ok_eq(ask(OP_EACCEPT, spare, PT_REG_FLAGS | 8 | 3, &run), 0, "EACCEPT of a page augmented by its fault");
	ok_eq(run.function, EEXIT, "no exception");
	ask(OP_WRITE, spare, 77, &run);
	ok_eq(ask(OP_READ, spare, 0, &run), 77, "the new page holds data");

	restriction.offset = enclave.heap;
	ok_eq(ioctl(enclave.fd, SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS, &restriction), 0, "restrict to read");
	ok_eq(restriction.count, PAGE, "count");
	ok_eq(ask(OP_EACCEPT, heap, PT_REG_FLAGS | 0x20 | 1, &run), 0, "EACCEPT of it");
	ask(OP_WRITE, heap, 1, &run);
	ok_eq(run.exception_vector, 14, "a write faults");
	ok_eq(run.exception_error_code, 0x8007, "by the EPCM");
	/* The faulted thread's frame is in use: go on with the next TCS's requests at CSSA 1. */
	ask(OP_EMODPE, heap, PT_REG_FLAGS | 3, &run);
	ask(OP_WRITE, heap, 5, &run);
	ok_eq(run.function, EEXIT, "EMODPE extends again");

	types.offset = enclave.spare;
	ok_eq(ioctl(enclave.fd, SGX_IOC_ENCLAVE_MODIFY_TYPES, &types), 0, "trim");
	ok_eq(ask(OP_EACCEPT, spare, PT_TRIM_FLAGS | 0x10, &run), 0, "EACCEPT of the trim");
	removal.offset = enclave.spare;
	ok_eq(ioctl(enclave.fd, SGX_IOC_ENCLAVE_REMOVE_PAGES, &removal), 0, "removed");
	ok_eq(removal.count, PAGE, "count");
	removal.count = 0;
	ok_eq(ioctl(enclave.fd, SGX_IOC_ENCLAVE_REMOVE_PAGES, &removal) ? errno : 0, EFAULT, "not there any more");
	return done();
}
