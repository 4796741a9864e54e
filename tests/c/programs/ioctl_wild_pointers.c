/* Every ioctl answers EFAULT to pointers that lead nowhere, wholly or in part, and the enclave can still be made. */
#include "enclave.h"

static struct enclave enclave;
static uint8_t *last, *readonly; /* a page with nothing after it, a read-only one */

static int failure(unsigned long number, const void *argument)
{
	return ioctl(enclave.fd, number, argument) ? errno : 0;
}

static void everywhere(const char *name, unsigned long number)
{
	static const uint64_t wild[] = { 0, 8, 0x800000000000, 0xffff888000000000, -8ul };
	size_t size = _IOC_SIZE(number);

	printf("# %s\n", name);
	for (int i = 0; i < 5; i++)
		ok_eq(failure(number, (void *)wild[i]), EFAULT, "wild");
	ok_eq(failure(number, last + PAGE), EFAULT, "just after a mapping");
	ok_eq(failure(number, last + PAGE - size + 1), EFAULT, "its last byte after a mapping");
}

int main(void)
{
	struct { uint64_t flags, reserved[7]; } __attribute__((aligned(64))) secinfo = { .flags = PT_REG_FLAGS | 3 };
	static uint8_t source[PAGE] __attribute__((aligned(4096)));
	struct enclave_options options = { .no_init = true, .heap_pages = 2, .spare_pages = 1 };
	struct sgx_enclave_create create;
	struct sgx_enclave_init init;
	struct sgx_enclave_add_pages add = { .src = (uint64_t)source, .length = PAGE, .secinfo = (uint64_t)&secinfo };
	struct sgx_enclave_restrict_permissions restriction = { .length = PAGE, .permissions = 3 };

	last = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	munmap(last + PAGE, PAGE);
	readonly = last + 2 * PAGE;
	enclave.fd = open("/dev/sgx_enclave", O_RDWR);
	everywhere("SGX_IOC_ENCLAVE_CREATE", SGX_IOC_ENCLAVE_CREATE);
	create.src = (uint64_t)last + 16;
	ok_eq(failure(SGX_IOC_ENCLAVE_CREATE, &create), EFAULT, "a SECS that ends after a mapping");
	close(enclave.fd);

	enclave_load(&enclave, &options);
	everywhere("SGX_IOC_ENCLAVE_ADD_PAGES", SGX_IOC_ENCLAVE_ADD_PAGES);
	add.offset = enclave.spare;
	add.secinfo = (uint64_t)last + PAGE - 32;
	ok_eq(failure(SGX_IOC_ENCLAVE_ADD_PAGES, &add), EFAULT, "a SECINFO that ends after a mapping");
	add.secinfo = (uint64_t)&secinfo;
	add.src = (uint64_t)last + PAGE;
	ok_eq(failure(SGX_IOC_ENCLAVE_ADD_PAGES, &add), EFAULT, "a source where nothing is");
	ok_eq(add.count, 0, "count");
	everywhere("SGX_IOC_ENCLAVE_INIT", SGX_IOC_ENCLAVE_INIT);
	init.sigstruct = (uint64_t)last + PAGE - 1807;
	ok_eq(failure(SGX_IOC_ENCLAVE_INIT, &init), EFAULT, "a SIGSTRUCT that ends after a mapping");
	everywhere("SGX_IOC_ENCLAVE_PROVISION", SGX_IOC_ENCLAVE_PROVISION);
	ok_eq(enclave_init(&enclave), 0, "INIT after all that");

	everywhere("SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS", SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS);
	everywhere("SGX_IOC_ENCLAVE_MODIFY_TYPES", SGX_IOC_ENCLAVE_MODIFY_TYPES);
	everywhere("SGX_IOC_ENCLAVE_REMOVE_PAGES", SGX_IOC_ENCLAVE_REMOVE_PAGES);
	restriction.offset = enclave.heap;
	memcpy(readonly, &restriction, sizeof(restriction));
	mprotect(readonly, PAGE, PROT_READ);
	ok_eq(failure(SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS, readonly), EFAULT, "results that cannot be written back");
	ok_eq(ask(enclave_tcs(&enclave, 0), OP_EACCEPT, (uint64_t)enclave.base + enclave.heap, PT_REG_FLAGS | 0x20 | 3, 0), 0,
	      "though what it asked for was done");
	return done();
}
