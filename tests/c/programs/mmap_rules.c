/* What of an enclave may be mapped and protected how: errno and effect as with the kernel's driver. */
#include "enclave.h"

#include <sys/personality.h>

static struct enclave enclave;

static int map(uint64_t offset, uint64_t length, int prot, int flags)
{
	void *got = mmap(enclave.base + offset, length, prot, flags | MAP_FIXED, enclave.fd, 0);

	return got == MAP_FAILED ? errno : 0;
}

/* Something is mapped there: msync() that does nothing finds gaps. */
static int mapped(uint64_t offset)
{
	return msync(enclave.base + offset, PAGE, MS_ASYNC) == 0;
}

static int protect(uint64_t offset, uint64_t length, int prot)
{
	return mprotect(enclave.base + offset, length, prot) ? errno : 0;
}

int main(void)
{
	struct enclave_options options = { .heap_pages = 4, .spare_pages = 4 };
	struct request read = { .op = OP_READ };
	uint8_t *around, *moved;
	uint64_t heap;
	void *tcs;

	enclave_load(&enclave, &options);
	tcs = enclave_tcs(&enclave, 0);
	heap = (uint64_t)enclave.base + enclave.heap;
	for (int i = 0; i < 4; i++)
		ask(tcs, OP_WRITE, heap + i * PAGE, 100 + i, 0);

	ok_eq(map(enclave.heap, PAGE, PROT_READ, MAP_PRIVATE), EINVAL, "MAP_PRIVATE");
	ok_eq(mapped(enclave.heap), 1, "which is refused before anything has changed");
	ok_eq(map(enclave.heap, PAGE, PROT_READ | PROT_EXEC, MAP_SHARED), EACCES, "more than the page was added with");
	ok_eq(mapped(enclave.heap), 0, "what was there has been unmapped by then, as mmap_region() does");
	ok_eq(map(enclave.heap, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED), 0, "mapped again");
	ok_eq(map(enclave.text, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED), EACCES, "write to text");
	ok_eq(map(enclave.text, PAGE, PROT_READ | PROT_EXEC, MAP_SHARED), 0, "mapped again");
	ok_eq(map(enclave.heap, 0, PROT_READ, MAP_SHARED), EINVAL, "no length");
	ok_eq(map(enclave.heap, -1UL, PROT_READ, MAP_SHARED), ENOMEM, "a length that cannot be rounded up");
	ok_eq(map(0, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED), 0, "a TCS, read and write");
	ok_eq(map(enclave.size, PAGE, PROT_READ, MAP_SHARED), EACCES, "outside ELRANGE after INIT");
	ok_eq(map(enclave.size - PAGE, 2 * PAGE, PROT_NONE, MAP_SHARED), EACCES, "partly outside");
	ok_eq(protect(enclave.heap, PAGE, PROT_READ | PROT_EXEC), EACCES, "mprotect to more than the page was added with");
	ok_eq(protect(enclave.text, 2 * (enclave.heap - enclave.text), PROT_READ | PROT_EXEC), EACCES,
	      "mprotect that fails for one page");
	ok_eq(protect(enclave.heap + 1, PAGE, PROT_READ), EINVAL, "mprotect, not aligned");
	ok_eq(protect(enclave.heap, -PAGE, PROT_NONE), ENOMEM, "mprotect of a range that overflows");
	ok_eq(protect(enclave.spare, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC), 0, "all rights where no page is yet");
	ok_eq(ask(tcs, OP_READ, heap, 0, 0), 100, "these refusals changed nothing");

	ok_eq(protect(enclave.heap, PAGE, PROT_WRITE) | protect(0, PAGE, PROT_WRITE), 0, "data and a TCS, to be written only");
	ok_eq(ask(tcs, OP_READ, heap, 0, 0), 100, "which can be read, for x86 knows no such pages");
	ok_eq(protect(enclave.heap, PAGE, PROT_READ | PROT_WRITE) | protect(0, PAGE, PROT_READ | PROT_WRITE), 0, "as before");

	ok_eq(munmap((void *)(heap + PAGE), PAGE), 0, "a page of the middle unmapped");
	read.a = heap + PAGE;
	expect_fault("it is gone", attempt(tcs, &read, EENTER), ERESUME, 14, 4, heap + PAGE);
	drop_frame(tcs);
	ok_eq(ask(tcs, OP_READ, heap + 2 * PAGE, 0, 0), 102, "its neighbour is not");
	ok_eq(map(enclave.heap + PAGE, PAGE, PROT_READ, MAP_SHARED), 0, "mapped again");
	ok_eq(ask(tcs, OP_READ, heap + PAGE, 0, 0), 101, "with its contents");

	ok(mremap((void *)heap, PAGE, 2 * PAGE, MREMAP_MAYMOVE) == MAP_FAILED && errno == EFAULT, "mremap cannot extend");
	ok(mremap((void *)heap, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL) == MAP_FAILED && errno == EINVAL,
	   "mremap cannot leave a copy");
	ok(madvise((void *)heap, PAGE, MADV_DONTNEED) == -1 && errno == EINVAL, "madvise cannot discard");
	ok_eq(ask(tcs, OP_READ, heap, 0, 0), 100, "contents kept");
	moved = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ok(mremap((void *)(heap + 3 * PAGE), PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, moved) == moved, "mremap moves");
	read.a = heap + 3 * PAGE;
	expect_fault("nothing is at the old place", attempt(tcs, &read, EENTER), ERESUME, 14, 4, heap + 3 * PAGE);
	drop_frame(tcs);

	around = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ok(mremap(around, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, enclave_tcs(&enclave, 3)) == enclave_tcs(&enclave, 3),
	   "ordinary memory moved over a TCS");
	*(volatile char *)enclave_tcs(&enclave, 3) = 0;
	expect_fault("it is one no more", attempt(enclave_tcs(&enclave, 3), &read, EENTER), EENTER, 14, 0x8005,
		     (uint64_t)enclave_tcs(&enclave, 3));

	/* Ordinary memory right behind the heap's VMA, then one mprotect over both. */
	around = mmap((void *)(heap + 3 * PAGE), PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	*around = 1;
	ok_eq(protect(enclave.heap + 2 * PAGE, 2 * PAGE, PROT_READ), 0, "mprotect of enclave and ordinary memory");
	read = (struct request){ .op = OP_WRITE, .a = heap + 2 * PAGE };
	expect_fault("the enclave's page is read-only", attempt(tcs, &read, EENTER), ERESUME, 14, 7, heap + 2 * PAGE);
	drop_frame(tcs);
	ok(pread(open("/dev/zero", O_RDONLY), around, 1, 0) == -1 && errno == EFAULT, "so is the ordinary one");
	ok_eq(*around, 1, "which keeps its contents");

	personality(READ_IMPLIES_EXEC);
	ok_eq(map(enclave.spare, PAGE, PROT_NONE, MAP_SHARED), EACCES, "mapped by who executes whatever can be read");
	ok_eq(protect(enclave.heap + 2 * PAGE, PAGE, PROT_NONE), EACCES, "protected");
	personality(0);
	ok_eq(protect(enclave.heap + 2 * PAGE, PAGE, PROT_NONE), 0, "by who does not");
	return done();
}
