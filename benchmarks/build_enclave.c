/* ADD_PAGES of a measured region and what it takes: seconds, on stdout.  Argument: MiB. */
#include "enclave.h"

#include <time.h>

struct create { uint64_t src; };
struct add { uint64_t src, offset, length, secinfo, flags, count; };

int main(int argc, char **argv)
{
	uint64_t size = (argc > 1 ? strtoull(argv[1], NULL, 0) : 256) << 20, range = 2 * size;
	uint64_t *secs = aligned_alloc(4096, 4096);
	uint64_t secinfo[8] __attribute__((aligned(64))) = { 0x203 };
	struct timespec a, b;
	struct create create = { (uint64_t)secs };
	struct add add = { .length = size, .secinfo = (uint64_t)secinfo, .flags = 1 };
	char *src = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	int fd = open("/dev/sgx_enclave", O_RDWR);

	for (uint64_t i = 0; i < size; i += 8)
		*(uint64_t *)(src + i) = i * 0x9e3779b97f4a7c15;
	memset(secs, 0, 4096);
	secs[0] = range;
	secs[1] = 1ull << 40;
	secs[2] = 1;
	secs[6] = 4;
	secs[7] = 3;
	add.src = (uint64_t)src;
	clock_gettime(CLOCK_MONOTONIC, &a);
	if (ioctl(fd, _IOW(0xA4, 0, struct create), &create) || ioctl(fd, _IOWR(0xA4, 1, struct add), &add)) {
		perror("ioctl");
		return 1;
	}
	clock_gettime(CLOCK_MONOTONIC, &b);
	printf("%.3f\n", (b.tv_sec - a.tv_sec) + (b.tv_nsec - a.tv_nsec) / 1e9);
	return 0;
}
