/* Calls other than mmap that put something else where an enclave's pages are: shmat(SHM_REMAP), remap_file_pages, mremap. */
#include "enclave.h"

#include <sys/shm.h>
#include <sys/syscall.h>

static struct enclave enclave;
static uint8_t *heap;
static void *tcs;

static int again(void *start, uint64_t size, uint64_t prot, uint64_t offset)
{
	return syscall(SYS_remap_file_pages, start, size, prot, offset, 0ul) ? errno : 0;
}

int main(void)
{
	struct enclave_options options = { .heap_pages = 16 };
	struct request report = { .op = OP_ENCLU, .a = 0 }, read = { .op = OP_READ };
	struct shmid_ds segment;
	uint8_t *place;
	int id;

	enclave_load(&enclave, &options);
	heap = enclave.base + enclave.heap;
	tcs = enclave_tcs(&enclave, 0);
	for (int i = 0; i < 16; i++)
		ask(tcs, OP_WRITE, (uint64_t)heap + i * PAGE, 0x100 + i, 0);

	ok_eq(again(heap, PAGE, 0, 3), 0, "remap_file_pages maps the device again");
	ok_eq(ask(tcs, OP_READ, (uint64_t)heap, 0, 0), 0x100, "which asks for no offset");
	ok_eq(again(heap, PAGE, PROT_READ, 0), EINVAL, "with a protection");
	ok_eq(again(heap, 0, 0, 0), EINVAL, "of no bytes");
	ok_eq(again(heap, PAGE, 0, -1ul), EINVAL, "with an offset that wraps around");
	ok_eq(again(heap, -PAGE, 0, 0), EINVAL, "of a range that wraps around");
	ok_eq(again(heap + 15 * PAGE, 1ul << 40, 0, 0), EINVAL, "of a range that others are in");
	ok_eq(again(heap + 100, PAGE + 100, 0, 0), 0, "not aligned");

	id = shmget(IPC_PRIVATE, 2 * PAGE - 100, 0600);
	if (id < 0) {
		ok(true, "# SKIP no shared memory here");
		return done();
	}
	ok(shmat(id, heap, 0) == (void *)-1 && errno == EINVAL, "shmat does not replace");
	ok(shmat(id, heap + 1, SHM_REMAP) == (void *)-1 && errno == EINVAL, "nor where nothing can be");
	ok(shmat(id + 1000, heap, SHM_REMAP) == (void *)-1 && errno == EINVAL, "nor with what is none");
	ok_eq(ask(tcs, OP_READ, (uint64_t)heap, 0, 0), 0x100, "the refusals changed nothing");
	ok(shmat(id, heap, SHM_REMAP) == heap, "SHM_REMAP does");
	ok(!shmctl(id, IPC_STAT, &segment) && segment.shm_nattch == 1, "it is attached");
	shmctl(id, IPC_RMID, NULL);
	report.b = report.c = report.d = (uint64_t)heap + PAGE;
	expect_fault("no operand of ENCLU is there any more", attempt(tcs, &report, EENTER), ERESUME, 14, 0x8005, (uint64_t)heap + PAGE);
	drop_frame(tcs);
	ok_eq(ask(tcs, OP_READ, (uint64_t)heap + 2 * PAGE, 0, 0), 0x102, "its neighbour is");
	ok_eq(shmdt(heap), 0, "shmdt");
	read.a = (uint64_t)heap;
	expect_fault("nothing is left", attempt(tcs, &read, EENTER), ERESUME, 14, 4, (uint64_t)heap);
	drop_frame(tcs);

	/* Out of ELRANGE there are no pages, but a mapping of the enclave. */
	place = mmap(NULL, 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ok(mremap(heap + 4 * PAGE, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, place) == place, "two pages moved");
	read.a = (uint64_t)place;
	expect_fault("nothing is there to be loaded", attempt(tcs, &read, EENTER), ERESUME, 14, 4, (uint64_t)place);
	drop_frame(tcs);
	ok(mprotect(place, PAGE, PROT_READ) == -1 && errno == EACCES, "outside ELRANGE");
	ok_eq(munmap(place, 2 * PAGE), 0, "unmapped");
	ok(mremap(heap + 6 * PAGE, 2 * PAGE, PAGE, 0) == heap + 6 * PAGE, "shrunk");
	ok_eq(ask(tcs, OP_READ, (uint64_t)heap + 6 * PAGE, 0, 0), 0x106, "what is left works");
	read.a = (uint64_t)heap + 7 * PAGE;
	expect_fault("the rest is gone", attempt(tcs, &read, EENTER), ERESUME, 14, 4, (uint64_t)heap + 7 * PAGE);
	drop_frame(tcs);
	ok(mremap(heap + 8 * PAGE, PAGE, PAGE, 8) == MAP_FAILED && errno == EINVAL, "unknown flags");
	ok(mremap(heap + 8 * PAGE, PAGE, 0, MREMAP_MAYMOVE) == MAP_FAILED && errno == EINVAL, "to nothing");
	ok(mremap(heap + 8 * PAGE + 1, PAGE, PAGE, MREMAP_MAYMOVE) == MAP_FAILED && errno == EINVAL, "not aligned");
	ok(mremap(heap + 8 * PAGE, 0, PAGE, MREMAP_MAYMOVE) == MAP_FAILED && errno == EFAULT, "a second mapping of the same");
	ok_eq(ask(tcs, OP_READ, (uint64_t)heap + 8 * PAGE, 0, 0), 0x108, "the refusals changed nothing");
	return done();
}
