/* An ioctl on many pages that fails at one of them says how far it came, and what came before it stays done. */
#include "enclave.h"

static struct enclave enclave;

int main(void)
{
	struct { uint64_t flags, reserved[7]; } __attribute__((aligned(64))) secinfo = { .flags = PT_REG_FLAGS | 3 };
	struct enclave_options options = { .no_init = true, .heap_pages = 2, .spare_pages = 8 }, ready = { .heap_pages = 4 };
	uint8_t *source = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct sgx_enclave_add_pages add = { .src = (uint64_t)source, .length = 4 * PAGE, .secinfo = (uint64_t)&secinfo };
	struct sgx_enclave_restrict_permissions restriction = { .length = 4 * PAGE, .permissions = 1 };
	struct sgx_enclave_modify_types trim = { .length = 4 * PAGE, .page_type = 4 };
	struct sgx_enclave_remove_pages removal = { .length = 4 * PAGE };
	uint64_t heap;
	void *tcs;

	enclave_load(&enclave, &options);
	munmap(source + 2 * PAGE, PAGE);
	add.offset = enclave.spare;
	ok_eq(ioctl(enclave.fd, SGX_IOC_ENCLAVE_ADD_PAGES, &add) ? errno : 0, EFAULT, "ADD_PAGES, a gap in the source");
	ok_eq(add.count, 2 * PAGE, "count");
	add.offset = enclave.spare + 2 * PAGE;
	add.length = PAGE;
	ok_eq(ioctl(enclave.fd, SGX_IOC_ENCLAVE_ADD_PAGES, &add), 0, "going on behind it");
	add.offset = enclave.spare + PAGE;
	ok_eq(ioctl(enclave.fd, SGX_IOC_ENCLAVE_ADD_PAGES, &add) ? errno : 0, EBUSY, "what was counted is there");
	ok_eq(add.count, 0, "count");
	add.offset = enclave.spare + 3 * PAGE;
	add.src = (uint64_t)enclave.base + enclave.heap;
	(void)*(volatile uint8_t *)add.src;
	ok_eq(ioctl(enclave.fd, SGX_IOC_ENCLAVE_ADD_PAGES, &add) ? errno : 0, EFAULT, "a source that is an enclave's");
	ok_eq(add.count, 0, "count");
	enclave_unload(&enclave);

	enclave_load(&enclave, &ready);
	tcs = enclave_tcs(&enclave, 0);
	heap = (uint64_t)enclave.base + enclave.heap;
	trim.offset = enclave.heap + 2 * PAGE;
	trim.length = PAGE;
	ioctl(enclave.fd, SGX_IOC_ENCLAVE_MODIFY_TYPES, &trim);
	restriction.offset = enclave.heap;
	ok_eq(ioctl(enclave.fd, SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS, &restriction) ? errno : 0, EINVAL,
	      "RESTRICT_PERMISSIONS, one page is trimmed");
	ok_eq(restriction.count, 2 * PAGE, "count");
	ok_eq(restriction.result, 0, "EMODPR itself has not failed");
	ok_eq(ask(tcs, OP_EACCEPT, heap + PAGE, PT_REG_FLAGS | 0x20 | 1, 0), 0, "the second page is restricted");
	ok_eq(ask(tcs, OP_EACCEPT, heap + 3 * PAGE, PT_REG_FLAGS | 0x20 | 1, 0), 19, "the fourth is not");
	trim.offset = enclave.heap;
	trim.length = 4 * PAGE;
	trim.count = 0;
	ok_eq(ioctl(enclave.fd, SGX_IOC_ENCLAVE_MODIFY_TYPES, &trim) ? errno : 0, EINVAL, "MODIFY_TYPES, a page is trimmed already");
	ok_eq(trim.count, 2 * PAGE, "count");
	ask(tcs, OP_EACCEPT, heap, PT_TRIM_FLAGS | 0x10, 0);
	removal.offset = enclave.heap;
	ok_eq(ioctl(enclave.fd, SGX_IOC_ENCLAVE_REMOVE_PAGES, &removal) ? errno : 0, EPERM, "REMOVE_PAGES, the second not accepted");
	ok_eq(removal.count, PAGE, "count");
	ok_eq(ioctl(enclave.fd, SGX_IOC_ENCLAVE_REMOVE_PAGES, &removal) ? errno : 0, EINVAL, "count must be 0 in the first place");
	return done();
}
