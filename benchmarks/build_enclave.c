/*
 * ADD_PAGES of a region, and what it takes, on stdout.  Arguments: MiB, and how: `measured` (seconds), `heap` (not
 * measured, from one source page after the other, that reads as zero: microseconds a page), `single` (measured, one page
 * a call: microseconds a page), `plain` (the same, not measured).
 */
#include "enclave.h"

#include <time.h>

struct create { uint64_t src; };
struct add { uint64_t src, offset, length, secinfo, flags, count; };

int main(int argc, char **argv)
{
	uint64_t size = (argc > 1 ? strtoull(argv[1], NULL, 0) : 256) << 20, range = 2 * size;
	const char *how = argc > 2 ? argv[2] : "measured";
	bool heap = !strcmp(how, "heap"), plain = !strcmp(how, "plain"), single = plain || !strcmp(how, "single");
	uint64_t *secs = aligned_alloc(4096, 4096);
	uint64_t secinfo[8] __attribute__((aligned(64))) = { 0x203 };
	struct timespec a, b;
	struct create create = { (uint64_t)secs };
	struct add add = { .length = single ? 4096 : size, .secinfo = (uint64_t)secinfo, .flags = !heap && !plain };
	char *src = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	int fd = open("/dev/sgx_enclave", O_RDWR);
	double seconds;

	for (uint64_t i = 0; i < size && !heap; i += 8)
		*(uint64_t *)(src + i) = i * 0x9e3779b97f4a7c15;
	memset(secs, 0, 4096);
	secs[0] = range;
	secs[1] = 1ull << 40;
	secs[2] = 1;
	secs[6] = 4;
	secs[7] = 3;
	clock_gettime(CLOCK_MONOTONIC, &a);
	if (ioctl(fd, _IOW(0xA4, 0, struct create), &create)) {
		perror("SGX_IOC_ENCLAVE_CREATE");
		return 1;
	}
	for (uint64_t offset = 0; offset < size; offset += add.length) {
		add.src = (uint64_t)src + offset;
		add.offset = offset;
		if (ioctl(fd, _IOWR(0xA4, 1, struct add), &add)) {
			perror("SGX_IOC_ENCLAVE_ADD_PAGES");
			return 1;
		}
	}
	clock_gettime(CLOCK_MONOTONIC, &b);
	seconds = (b.tv_sec - a.tv_sec) + (b.tv_nsec - a.tv_nsec) / 1e9;
	printf("%.3f\n", heap || single ? seconds * 1e6 / (size / 4096) : seconds);
	return 0;
}
