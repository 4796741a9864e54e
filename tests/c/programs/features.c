/* What the processor says it has, it takes: EDECCSSA, KSS, AEX-Notify and EXINFO; CET it neither offers nor takes. */
#include "enclave.h"

#include <cpuid.h>

#define ATTRIBUTE_CET (1ul << 6)
#define ATTRIBUTE_KSS (1ul << 7)

static int create(uint64_t attributes, uint32_t miscselect)
{
	static struct { uint64_t size, base; uint32_t frame, misc; uint64_t reserved[3], attributes, xfrm, rest[504]; } secs =
		{ .size = 16 * PAGE, .base = 0x10000000, .frame = 1, .xfrm = 3 };
	struct sgx_enclave_create arguments = { .src = (uint64_t)&secs };
	int fd = open("/dev/sgx_enclave", O_RDWR), result;

	secs.attributes = 4 | attributes;
	secs.misc = miscselect;
	result = ioctl(fd, SGX_IOC_ENCLAVE_CREATE, &arguments) ? errno : 0;
	close(fd);
	return result;
}

int main(void)
{
	struct { uint64_t flags, reserved[7]; } __attribute__((aligned(64))) secinfo = { .flags = PT_TCS_FLAGS };
	static uint64_t tcs[512] __attribute__((aligned(4096)));
	struct sgx_enclave_add_pages add = { .src = (uint64_t)tcs, .length = PAGE, .secinfo = (uint64_t)&secinfo };
	struct enclave_options options = { .no_init = true, .spare_pages = 1 };
	unsigned int eax, ebx, ecx, edx;
	struct enclave enclave;

	__cpuid_count(0x12, 0, eax, ebx, ecx, edx);
	ok_eq(eax, 1 << 0 | 1 << 1 | 1 << 10 | 1 << 11, "leaf 12H: SGX1, SGX2, EUPDATESVN and EDECCSSA, no more");
	ok_eq(ebx, 1, "MISCSELECT: EXINFO");
	__cpuid_count(0x12, 1, eax, ebx, ecx, edx);
	ok_eq(eax & ATTRIBUTE_CET, 0, "ATTRIBUTES: not CET");
	ok_eq(eax & ATTRIBUTE_KSS, ATTRIBUTE_KSS, "but KSS");
	ok_eq(eax & ATTRIBUTE_AEXNOTIFY, ATTRIBUTE_AEXNOTIFY, "and AEXNOTIFY");
	ok_eq(create(ATTRIBUTE_KSS, 1), 0, "ECREATE with KSS and EXINFO");
	ok_eq(create(ATTRIBUTE_CET, 0), EIO, "ECREATE with CET");
	ok_eq(create(ATTRIBUTE_AEXNOTIFY, 0), 0, "ECREATE with AEXNOTIFY");
	ok_eq(create(0, 2), EIO, "ECREATE with another MISCSELECT");
	enclave_load(&enclave, &options);
	add.offset = enclave.spare;
	tcs[1] = 4;
	ok_eq(ioctl(enclave.fd, SGX_IOC_ENCLAVE_ADD_PAGES, &add) ? errno : 0, EIO, "EADD of a TCS with a flag that is none");
	tcs[1] = TCS_AEXNOTIFY;
	ok_eq(ioctl(enclave.fd, SGX_IOC_ENCLAVE_ADD_PAGES, &add), 0, "EADD of one with AEXNOTIFY");
	return done();
}
