/* mseal(2) of an enclave's mappings: the program may not change them any more, the enclave goes on working. */
#include "enclave.h"

#include <sys/syscall.h>

#ifndef SYS_mseal
#define SYS_mseal 462
#endif

static struct enclave enclave;
static uint8_t *heap;

static int seal(void *start, uint64_t length, uint64_t flags) { return syscall(SYS_mseal, start, length, flags) ? errno : 0; }

static void expect_kept(void *start, uint64_t length, const char *name)
{
	void *ordinary = mmap(NULL, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	printf("# %s\n", name);
	ok(munmap(start, length) == -1 && errno == EPERM, "munmap");
	ok(mprotect(start, length, PROT_NONE) == -1 && errno == EPERM, "mprotect");
	ok(syscall(SYS_pkey_mprotect, start, length, PROT_NONE, -1) == -1 && errno == EPERM, "pkey_mprotect");
	ok(mmap(start, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED && errno == EPERM, "mmap over it");
	ok(mmap(start, length, PROT_NONE, MAP_SHARED | MAP_FIXED, enclave.fd, 0) == MAP_FAILED && errno == EPERM, "the device over it");
	ok(mremap(start, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, ordinary) == MAP_FAILED && errno == EPERM, "moved away");
	ok(mremap(ordinary, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, start) == MAP_FAILED && errno == EPERM, "replaced by a move");
	munmap(ordinary, length);
}

int main(void)
{
	struct enclave_options options = { .heap_pages = 64 };
	uint8_t *ordinary, *around;
	pid_t child;
	int status;
	void *tcs;

	enclave_load(&enclave, &options);
	tcs = enclave_tcs(&enclave, 0);
	heap = enclave.base + enclave.heap;
	if (seal(heap, 0, 0) == ENOSYS) {
		ok(true, "# SKIP this kernel has no mseal");
		return done();
	}
	ok_eq(seal(heap, PAGE, 1), EINVAL, "flags");
	ok_eq(seal(heap + 1, PAGE, 0), EINVAL, "not aligned");
	ok_eq(seal(heap, 0, 0), 0, "no length");
	ok_eq(seal(heap, -1ul, 0), EINVAL, "a length that wraps around");
	ok_eq(seal(heap, -2 * PAGE, 0), EINVAL, "a range that wraps around");
	ok_eq(seal(heap, 1ul << 46, 0), ENOMEM, "a range with gaps");
	ok_eq(mprotect(heap, 64 * PAGE, PROT_READ | PROT_WRITE), 0, "nothing is sealed yet");
	ok_eq(seal(heap, 32 * PAGE - 100, 0), 0, "half of the heap");
	ok_eq(seal(heap, 32 * PAGE, 0), 0, "once more");
	expect_kept(heap, PAGE, "its first page");
	expect_kept(heap + 31 * PAGE, 2 * PAGE, "its last page and one that is not");
	ok_eq(mprotect(heap + 32 * PAGE, PAGE, PROT_READ), 0, "the other half is as before");
	ok(munmap(heap + 1, PAGE) == -1 && errno == EINVAL, "a munmap that is none");
	ok(munmap(heap, 0) == -1 && errno == EINVAL, "nor this");
	ok_eq(mprotect(heap, 0, PROT_NONE), 0, "no bytes are not sealed");

	for (int i = 0; i < 32; i++)
		ask(tcs, OP_WRITE, (uint64_t)heap + i * PAGE, i, 0);
	status = 0;
	for (int i = 0; i < 32; i++)
		status += ask(tcs, OP_READ, (uint64_t)heap + i * PAGE, 0, 0) != (uint64_t)i;
	ok_eq(status, 0, "pages appear and are evicted as ever");

	fflush(stdout);
	child = fork();
	if (!child)
		_exit(munmap(heap, PAGE) == -1 && errno == EPERM ? 0 : 1);
	waitpid(child, &status, 0);
	ok_eq(status, 0, "a child's are sealed, too");

	/* Ordinary memory on either side is the host kernel's to seal. */
	around = enclave.base + enclave.size;
	ordinary = mmap(around, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	if (ordinary == around) {
		ok_eq(seal(around - PAGE, 2 * PAGE, 0), 0, "the end of the enclave, and memory behind it");
		ok(munmap(around, PAGE) == -1 && errno == EPERM, "that is sealed");
		ok(munmap(around - PAGE, PAGE) == -1 && errno == EPERM, "so is the enclave's");
	}
	return done();
}
