/* The device opened with one descriptor left, and with none: an errno, and closed enclaves are released. */
#include "enclave.h"

#include <sys/resource.h>

static void leave(rlim_t count)
{
	struct rlimit limit = { count, 1024 };

	setrlimit(RLIMIT_NOFILE, &limit);
}

static int create(int fd)
{
	static uint8_t secs[PAGE] __attribute__((aligned(4096))), pages[100 * PAGE] __attribute__((aligned(4096)));
	static uint64_t secinfo[8] __attribute__((aligned(64))) = { 0x203 };
	struct sgx_enclave_create create = { .src = (uint64_t)secs };
	struct sgx_enclave_add_pages add = { .src = (uint64_t)pages, .length = sizeof(pages), .secinfo = (uint64_t)secinfo };

	*(uint64_t *)secs = 1 << 20;
	*(uint64_t *)(secs + 8) = 1ul << 40;
	*(uint32_t *)(secs + 16) = 1;
	*(uint64_t *)(secs + 48) = 4;
	*(uint64_t *)(secs + 56) = 3;
	return ioctl(fd, SGX_IOC_ENCLAVE_CREATE, &create) || ioctl(fd, SGX_IOC_ENCLAVE_ADD_PAGES, &add) ? errno : 0;
}

int main(void)
{
	int free = dup(0), failed = 0, fd;

	close(free);
	leave(free);
	ok(open("/dev/sgx_enclave", O_RDWR) == -1 && errno == EMFILE, "none left");
	for (int i = 0; i < 20; i++) {
		leave(free + 1);
		fd = open("/dev/sgx_enclave", O_RDWR);
		leave(1024);
		failed += fd < 0 || create(fd);
		close_range(free, ~0u, 0);
	}
	ok_eq(failed, 0, "one left: enclaves of 100 pages each, closed by close_range()");
	fd = open("/dev/sgx_enclave", O_RDWR);
	ok(fd == free && !create(fd), "and one more");
	return done();
}
