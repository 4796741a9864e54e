/* Offsets and lengths that are not pages of the enclave are EINVAL, for each ioctl that takes a range. */
#include "enclave.h"

static struct enclave enclave;

static int add(uint64_t offset, uint64_t length)
{
	static uint8_t source[2 * PAGE] __attribute__((aligned(4096)));
	struct { uint64_t flags, reserved[7]; } __attribute__((aligned(64))) secinfo = { .flags = PT_REG_FLAGS | 3 };
	struct sgx_enclave_add_pages arguments = { .src = (uint64_t)source, .offset = offset, .length = length,
		.secinfo = (uint64_t)&secinfo };

	return ioctl(enclave.fd, SGX_IOC_ENCLAVE_ADD_PAGES, &arguments) ? errno : 0;
}

static int restrict_permissions(uint64_t offset, uint64_t length)
{
	struct sgx_enclave_restrict_permissions arguments = { .offset = offset, .length = length, .permissions = 1 };

	return ioctl(enclave.fd, SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS, &arguments) ? errno : 0;
}

static int modify_types(uint64_t offset, uint64_t length)
{
	struct sgx_enclave_modify_types arguments = { .offset = offset, .length = length, .page_type = 4 };

	return ioctl(enclave.fd, SGX_IOC_ENCLAVE_MODIFY_TYPES, &arguments) ? errno : 0;
}

static int remove_pages(uint64_t offset, uint64_t length)
{
	struct sgx_enclave_remove_pages arguments = { .offset = offset, .length = length };

	return ioctl(enclave.fd, SGX_IOC_ENCLAVE_REMOVE_PAGES, &arguments) ? errno : 0;
}

static void expect(const char *name, int (*call)(uint64_t, uint64_t))
{
	printf("# %s\n", name);
	ok_eq(call(enclave.heap, 0), EINVAL, "length 0");
	ok_eq(call(enclave.heap, 100), EINVAL, "length not of pages");
	ok_eq(call(enclave.heap + 8, PAGE), EINVAL, "offset not of a page");
	ok_eq(call(enclave.size, PAGE), EINVAL, "after the enclave");
	ok_eq(call(enclave.size - PAGE, 2 * PAGE), EINVAL, "begins in the enclave, ends after it");
	ok_eq(call(-PAGE, PAGE), EINVAL, "the last page of all");
	ok_eq(call(-PAGE, 2 * PAGE), EINVAL, "the sum overflows");
	ok_eq(call(0, -PAGE), EINVAL, "nearly everything");
	ok_eq(call(PAGE, -PAGE), EINVAL, "the sum overflows to 0");
}

int main(void)
{
	struct enclave_options options = { .no_init = true, .heap_pages = 1, .spare_pages = 4 };

	enclave_load(&enclave, &options);
	expect("ADD_PAGES", add);
	ok_eq(enclave_init(&enclave), 0, "INIT: the measurement is as if nothing had been asked");
	expect("RESTRICT_PERMISSIONS", restrict_permissions);
	expect("MODIFY_TYPES", modify_types);
	expect("REMOVE_PAGES", remove_pages);
	ok_eq(restrict_permissions(enclave.spare, PAGE), EFAULT, "RESTRICT_PERMISSIONS, no page there");
	ok_eq(modify_types(enclave.spare, PAGE), EFAULT, "MODIFY_TYPES, no page there");
	ok_eq(remove_pages(enclave.spare, PAGE), EFAULT, "REMOVE_PAGES, no page there");
	return done();
}
