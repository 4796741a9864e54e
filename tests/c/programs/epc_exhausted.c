/* SECS and version array pages stay in the EPC: when it is full of them, CREATE is ENOMEM until an enclave is closed. */
#include "enclave.h"

#define MOST 200 /* an EPC of 1M has room for 128 pairs */

static int create(int fd)
{
	static struct { uint64_t size, base; uint32_t frame, misc; uint64_t reserved[3], attributes, xfrm, rest[504]; } secs =
		{ .size = 2 * PAGE, .base = 0x10000000, .frame = 1, .attributes = 4, .xfrm = 3 };
	struct sgx_enclave_create arguments = { .src = (uint64_t)&secs };

	return ioctl(fd, SGX_IOC_ENCLAVE_CREATE, &arguments) ? errno : 0;
}

static int fill(int *fds)
{
	for (int i = 0; i < MOST; i++) {
		int result;

		fds[i] = open("/dev/sgx_enclave", O_RDWR);
		result = create(fds[i]);
		if (result) {
			ok_eq(result, ENOMEM, "CREATE");
			return i;
		}
	}
	return MOST;
}

int main(void)
{
	int fds[MOST], count = fill(fds);

	ok_eq(count, 128, "enclaves were created");
	ok_eq(create(fds[count]), ENOMEM, "and no more");
	close(fds[3]);
	close(fds[count]);
	fds[3] = open("/dev/sgx_enclave", O_RDWR);
	ok_eq(create(fds[3]), 0, "one more when one is closed");
	for (int i = 0; i < count; i++)
		close(fds[i]);
	ok_eq(fill(fds), 128, "all again when all are closed");
	return done();
}
