/* ELRANGE: one that begins at address 0, the largest, sparse ones, and mappings made again after pages were added. */
#include "enclave.h"

#define GIB (1ul << 30)
#define TIB (1ul << 40)

static int create(uint64_t base, uint64_t size)
{
	static struct { uint64_t size, base; uint32_t frame, misc; uint64_t reserved[3], attributes, xfrm, rest[504]; } secs;
	struct sgx_enclave_create arguments = { .src = (uint64_t)&secs };
	int fd = open("/dev/sgx_enclave", O_RDWR), result;

	secs.size = size, secs.base = base, secs.frame = 1, secs.attributes = 4, secs.xfrm = 3;
	result = ioctl(fd, SGX_IOC_ENCLAVE_CREATE, &arguments) ? errno : 0;
	close(fd);
	return result;
}

static void *map_at(struct enclave *enclave, uint64_t address, int flags)
{
	return mmap((void *)address, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | flags, enclave->fd, 0);
}

/* A page that EAUG adds; `far` is its address. */
static void augment(struct enclave *enclave, uint64_t far)
{
	void *tcs = enclave_tcs(enclave, 0);

	ok(map_at(enclave, far, MAP_FIXED_NOREPLACE) == (void *)far, "a mapping of the far end");
	ok_eq(ask(tcs, OP_EACCEPT, far, PT_REG_FLAGS | RW_PENDING, 0), 0, "EACCEPT of a page added there");
	ask(tcs, OP_WRITE, far + 8, 0x1122334455667788, 0);
	ok_eq(ask(tcs, OP_READ, far + 8, 0, 0), 0x1122334455667788, "it can be used");
	ok_eq(ask(tcs, OP_READ, far + 16, 0, 0), 0, "and is new");
}

static void check(const char *name, uint64_t base, uint64_t size, uint64_t place)
{
	struct enclave_options options = { .elrange_base = base, .elrange_size = size, .place = place, .heap_pages = 2 };
	struct enclave enclave;
	uint64_t heap;
	void *tcs;

	printf("# %s\n", name);
	enclave_load(&enclave, &options);
	tcs = enclave_tcs(&enclave, 0);
	heap = (uint64_t)enclave.base + enclave.heap;
	ok_eq(ask(tcs, OP_ADD, 2, 3, 0), 5, "an ECALL");
	ok_eq(ask(tcs, OP_BASE, 0, 0, 0), base + place, "the image is where it was put");
	ask(tcs, OP_WRITE, heap, 0x55, 0);
	ok(map_at(&enclave, heap, MAP_FIXED) == (void *)heap, "its heap is mapped again");
	ok_eq(ask(tcs, OP_READ, heap, 0, 0), 0x55, "and holds what it held");
	ok_eq(munmap((void *)heap, PAGE), 0, "unmapped");
	ok(map_at(&enclave, heap, 0) == (void *)heap, "and mapped with its address as a hint");
	ok_eq(ask(tcs, OP_READ, heap, 0, 0), 0x55, "it still does");
	expect_fault("the unmapped end of ELRANGE", attempt(tcs, &(struct request){ .op = OP_READ, .a = base + size - PAGE },
		     EENTER), ERESUME, 14, 4, base + size - PAGE);
	drop_frame(tcs);
	if (base + size < 1ul << 47)
		augment(&enclave, base + size - PAGE);
	munmap((void *)(base + size - PAGE), PAGE);
	munmap(enclave.base, enclave.spare);
	close(enclave.fd);
}

static void at_once(void)
{
	struct enclave_options options[3] = {
		{ .elrange_size = TIB, .place = TIB / 2 },
		{ .elrange_base = TIB, .elrange_size = TIB, .place = TIB - GIB },
		{ 0 },
	};
	struct enclave enclaves[3];
	uint64_t sums[3] = { 0 };

	for (int i = 0; i < 3; i++)
		enclave_load(&enclaves[i], &options[i]);
	for (int round = 0; round < 100; round++)
		for (int i = 0; i < 3; i++)
			sums[i] = ask(enclave_tcs(&enclaves[i], round % TEST_TCS_COUNT), OP_ADD, sums[i], i + 1, 0);
	for (int i = 0; i < 3; i++) {
		ok_eq(sums[i], 100 * (i + 1), "its ECALLs, by turns with the others'");
		munmap(enclaves[i].base, enclaves[i].spare);
		close(enclaves[i].fd);
	}
}

int main(void)
{
	ok_eq(create(0, 1ul << 46), 0, "ECREATE of 2^46 bytes at 0");
	ok_eq(create(1ul << 46, 1ul << 46), 0, "and above");
	ok_eq(create(0, 1ul << 47), EIO, "of more: refused");
	ok_eq(create(0, (1ul << 46) + PAGE), EINVAL, "of no power of two");
	ok_eq(create(1ul << 45, 1ul << 46), EIO, "not aligned to its size");
	check("64 GiB from 0", 0, 64 * GIB, 16 * GIB);
	check("1 TiB from 0", 0, TIB, TIB / 2);
	check("1 TiB from 1 TiB", TIB, TIB, TIB - GIB);
	check("2^46 from 0", 0, 1ul << 46, 1ul << 45);
	at_once();
	return done();
}
