/* Wild operands of ENCLU give exactly #GP, or #PF: with the SGX bit where an EPC page is the wrong one. */
#include "enclave.h"

#define EREPORT 0
#define EGETKEY 1
#define EACCEPT 5
#define SGX_READ 0x8005
#define SGX_WRITE 0x8007
#define NON_CANONICAL 0x800000000000

static struct enclave enclave, other;
static uint64_t heap;

static void inside(const char *name, uint64_t leaf, uint64_t rbx, uint64_t rcx, uint64_t rdx, int vector, int error)
{
	struct request request = { .op = OP_ENCLU, .a = leaf, .b = rbx, .c = rcx, .d = rdx };
	void *tcs = enclave_tcs(&enclave, 0);
	struct outcome got = attempt(tcs, &request, EENTER);

	expect_fault(name, got, ERESUME, vector, error, vector == 14 ? got.address & -PAGE : 0);
	drop_frame(tcs);
}

static void entering(const char *name, uint64_t leaf, uint64_t tcs, int vector, int error)
{
	struct request request = { .op = OP_NOP };

	expect_fault(name, attempt((void *)tcs, &request, leaf), leaf, vector, error, vector == 14 ? tcs : 0);
}

int main(void)
{
	struct enclave_options options = { .heap_pages = 4, .spare_pages = 2 };
	uint64_t outside, text, hole, tcs;
	char *plain = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	*plain = 1;
	outside = (uint64_t)plain;
	enclave_load(&enclave, &options);
	enclave_load(&other, &options);
	heap = (uint64_t)enclave.base + enclave.heap;
	text = (uint64_t)enclave.base + enclave.text;
	hole = (uint64_t)enclave.base + enclave.spare;
	tcs = (uint64_t)enclave_tcs(&enclave, 1);
	munmap((void *)(hole + PAGE), PAGE);

	entering("EENTER, not aligned", EENTER, tcs + 8, 13, 0);
	entering("EENTER of ordinary memory", EENTER, outside, 14, SGX_READ);
	entering("EENTER of nothing", EENTER, hole + PAGE, 14, 4);
	entering("EENTER, not canonical", EENTER, NON_CANONICAL, 13, 0);
	entering("EENTER of the kernel's", EENTER, 0xffff888000000000, 14, 5);
	entering("EENTER of a regular page", EENTER, heap, 14, SGX_READ);
	entering("ERESUME of nothing interrupted", ERESUME, tcs, 13, 0);

	inside("EENTER inside", EENTER, tcs, heap, 0, 13, 0);
	inside("ERESUME inside", ERESUME, tcs, heap, 0, 13, 0);
	inside("leaf 8 inside", 8, 0, 0, 0, 13, 0);
	inside("EEXIT to no canonical address", EEXIT, NON_CANONICAL, 0, 0, 13, 0);

	inside("EREPORT, TARGETINFO not aligned", EREPORT, heap + 256, heap + 512, heap + 1024, 13, 0);
	inside("EREPORT, TARGETINFO outside", EREPORT, outside, heap + 512, heap + 1024, 13, 0);
	inside("EREPORT, TARGETINFO not canonical", EREPORT, NON_CANONICAL, heap + 512, heap + 1024, 13, 0);
	inside("EREPORT, REPORTDATA not aligned", EREPORT, heap, heap + 512 + 64, heap + 1024, 13, 0);
	inside("EREPORT, REPORT not aligned", EREPORT, heap, heap + 512, heap + 1024 + 128, 13, 0);
	inside("EREPORT, REPORT in a read-only VMA", EREPORT, heap, heap + 512, text, 14, 7);
	inside("EREPORT, REPORT in a TCS", EREPORT, heap, heap + 512, tcs, 14, SGX_WRITE);
	inside("EREPORT, TARGETINFO in another enclave", EREPORT, (uint64_t)other.base + other.heap, heap, heap, 13, 0);

	inside("EGETKEY, KEYREQUEST not aligned", EGETKEY, heap + 64, heap + 512, 0, 13, 0);
	inside("EGETKEY, KEYREQUEST where nothing is", EGETKEY, hole + PAGE, heap + 512, 0, 14, 4);
	inside("EGETKEY, KEYREQUEST in a pending page", EGETKEY, hole, heap + 512, 0, 14, SGX_READ);
	inside("EGETKEY, key not aligned", EGETKEY, heap, heap + 512 + 8, 0, 13, 0);
	inside("EGETKEY, key outside", EGETKEY, heap, outside, 0, 13, 0);
	inside("EGETKEY, key in a read-only VMA", EGETKEY, heap, text, 0, 14, 7);

	ask(enclave_tcs(&enclave, 0), OP_WRITE, heap + 2 * PAGE, PT_REG_FLAGS | 8 | 3, 0);
	inside("EACCEPT, SECINFO not aligned", EACCEPT, heap + 2 * PAGE + 8, heap, 0, 13, 0);
	inside("EACCEPT, SECINFO outside", EACCEPT, outside, heap, 0, 13, 0);
	inside("EACCEPT, page not aligned", EACCEPT, heap + 2 * PAGE, heap + 64, 0, 13, 0);
	inside("EACCEPT, page outside", EACCEPT, heap + 2 * PAGE, outside, 0, 13, 0);
	inside("EACCEPT, page of another enclave", EACCEPT, heap + 2 * PAGE, (uint64_t)other.base + other.heap, 0, 13, 0);
	inside("EACCEPT, page where nothing is", EACCEPT, heap + 2 * PAGE, hole + PAGE, 0, 14, 4);
	inside("EACCEPT, SECINFO without a state", EACCEPT, heap + 3 * PAGE, heap, 0, 13, 0);
	return done();
}
