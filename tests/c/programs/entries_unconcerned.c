/* A thread enters again and again while other pages of its enclave are protected and restricted than those on which its
   entry depends. */
#include "enclave.h"

#define ROUNDS 100

static struct enclave enclave;
static long wrong;

static void enter(uint64_t number)
{
	wrong += ask(enclave_tcs(&enclave, 0), OP_ADD, number, 7, 0) != number + 7;
}

int main(void)
{
	struct enclave_options options = { .heap_pages = ROUNDS + 1 };
	struct sgx_enclave_restrict_permissions restriction = { .length = PAGE, .permissions = 3 };
	uint8_t *heap;

	enclave_load(&enclave, &options);
	heap = (uint8_t *)enclave.base + enclave.heap;
	for (uint64_t i = 0; i < ROUNDS; i++) {
		enter(i);
		wrong += mprotect(heap + i * PAGE, PAGE, PROT_READ) != 0;
		enter(i);
		restriction.offset = enclave.heap + i * PAGE;
		restriction.result = restriction.count = 0;
		wrong += ioctl(enclave.fd, SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS, &restriction) != 0;
		enter(i);
	}
	ok_eq(wrong, 0, "every entry is right, and every change is made");
	return done();
}
