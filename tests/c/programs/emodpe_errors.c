/* EMODPE extends permissions of an accepted regular page only, and never to what makes no sense. */
#include "enclave.h"

#define EPCM_READ 0x8005

static struct enclave enclave;
static void *tcs;

static void refused(const char *name, uint64_t page, uint64_t flags, int vector, int error)
{
	struct request request = { .op = OP_EMODPE, .a = page, .b = flags };

	expect_fault(name, attempt(tcs, &request, EENTER), ERESUME, vector, error, vector == 14 ? page & -PAGE : 0);
	drop_frame(tcs);
}

int main(void)
{
	struct enclave_options options = { .heap_pages = 2, .spare_pages = 1 };
	struct sgx_enclave_restrict_permissions restriction = { .length = PAGE };
	struct sgx_enclave_modify_types trim = { .length = PAGE, .page_type = 4 };
	uint64_t heap, spare;

	enclave_load(&enclave, &options);
	tcs = enclave_tcs(&enclave, 0);
	heap = (uint64_t)enclave.base + enclave.heap;
	spare = (uint64_t)enclave.base + enclave.spare;
	refused("a TCS", (uint64_t)enclave_tcs(&enclave, 1), PT_REG_FLAGS | 3, 14, EPCM_READ);
	refused("a pending page", spare, PT_REG_FLAGS | 7, 14, EPCM_READ);
	refused("not aligned", heap + 64, PT_REG_FLAGS | 7, 13, 0);
	refused("outside ELRANGE", (uint64_t)&enclave & -PAGE, PT_REG_FLAGS | 7, 13, 0);
	refused("a reserved flag", heap, PT_REG_FLAGS | 0x80, 13, 0);
	restriction.offset = enclave.heap;
	ioctl(enclave.fd, SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS, &restriction);
	ask(tcs, OP_EACCEPT, heap, PT_REG_FLAGS | 0x20, 0);
	refused("write alone", heap, PT_REG_FLAGS | 2, 13, 0);
	ask(tcs, OP_EMODPE, heap, PT_REG_FLAGS | 1, 0);
	ask(tcs, OP_EMODPE, heap, PT_REG_FLAGS | 2, 0);
	ask(tcs, OP_WRITE, heap, 7, 0);
	ok_eq(ask(tcs, OP_READ, heap, 0, 0), 7, "write after read is well");
	trim.offset = enclave.heap + PAGE;
	ioctl(enclave.fd, SGX_IOC_ENCLAVE_MODIFY_TYPES, &trim);
	refused("a modified page", heap + PAGE, PT_REG_FLAGS | 3, 14, EPCM_READ);
	return done();
}
