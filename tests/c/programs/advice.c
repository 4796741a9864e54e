/* madvise(2) and its relatives on an enclave: what the kernel says to a mapping that is VM_IO | VM_PFNMAP | VM_DONTEXPAND. */
#include "enclave.h"

#include <linux/userfaultfd.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

static const struct { int advice, error; } advices[] = {
	{ MADV_NORMAL, 0 }, { MADV_RANDOM, 0 }, { MADV_SEQUENTIAL, 0 }, { MADV_WILLNEED, 0 }, { MADV_DONTNEED, EINVAL },
	{ MADV_FREE, EINVAL }, { MADV_REMOVE, ENODEV }, { MADV_DOFORK, EINVAL }, { MADV_DONTDUMP, 0 }, { MADV_DODUMP, EINVAL },
	{ MADV_WIPEONFORK, EINVAL }, { MADV_KEEPONFORK, 0 }, { MADV_COLD, EINVAL }, { MADV_PAGEOUT, EINVAL },
	{ 22 /* MADV_POPULATE_READ */, EINVAL }, { 23, EINVAL }, { 24 /* MADV_DONTNEED_LOCKED */, EINVAL },
	{ 25 /* MADV_COLLAPSE */, EINVAL }, { MADV_GUARD_INSTALL, EINVAL }, { 103, EINVAL }, { 5, EINVAL }, { -1, EINVAL },
};
static struct enclave enclave;

static int advise(void *start, uint64_t length, int advice) { return madvise(start, length, advice) ? errno : 0; }

/* The VmFlags of the mapping at an address. */
static bool has_flag(void *address, const char *flag)
{
	FILE *file = fopen("/proc/self/smaps", "r");
	unsigned long start, end;
	char line[512], wanted[8];
	bool here = false, found = false;

	snprintf(wanted, sizeof(wanted), " %s", flag);
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			here = start <= (unsigned long)address && (unsigned long)address < end;
		if (here && !strncmp(line, "VmFlags:", 8))
			found = strstr(line, wanted) != NULL;
	}
	fclose(file);
	return found;
}

static void ranges(uint8_t *heap, uint8_t *ordinary)
{
	ok_eq(advise(heap, 0, MADV_DONTNEED), 0, "no bytes");
	ok_eq(advise(heap + 1, PAGE, MADV_DONTNEED), EINVAL, "not aligned");
	ok_eq(advise(heap, -1ul, MADV_DONTNEED), EINVAL, "a length that wraps around");
	ok_eq(advise(heap, -2 * PAGE, MADV_DONTNEED), EINVAL, "a range that wraps around");
	ok_eq(advise(heap, 1, MADV_DONTNEED), EINVAL, "a byte is a page");
	*ordinary = 1;
	ok_eq(advise(ordinary, 2 * PAGE, MADV_DONTNEED), EINVAL, "ordinary memory before the enclave's");
	ok_eq(*ordinary, 0, "the ordinary one has been discarded");
	*ordinary = 1;
	ok_eq(advise(ordinary, 2 * PAGE, MADV_GUARD_INSTALL), EINVAL, "guards likewise");
}

static void several(uint8_t *heap)
{
	uint8_t *ordinary = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct iovec vector[] = { { ordinary, PAGE }, { heap, PAGE }, { ordinary, PAGE } };
	int self = syscall(SYS_pidfd_open, getpid(), 0);

	ok(syscall(SYS_process_madvise, self, vector + 1, 1ul, MADV_COLD, 0) == -1 && errno == EINVAL, "process_madvise");
	ok_eq(syscall(SYS_process_madvise, self, vector, 3ul, MADV_COLD, 0), PAGE, "what comes before is done");
	ok_eq(syscall(SYS_process_madvise, self, vector + 1, 1ul, MADV_WILLNEED, 0), PAGE, "what keeps everything is");
	ok(syscall(SYS_process_madvise, -1, vector + 1, 1ul, MADV_COLD, 0) == -1 && errno == EBADF, "of nobody");
	ok(syscall(SYS_process_madvise, self, NULL, 1ul, MADV_COLD, 0) == -1 && errno == EFAULT, "of what cannot be read");
	ok(syscall(SYS_process_madvise, self, vector + 1, 1ul, MADV_COLD, 1) == -1 && errno == EINVAL, "with flags");
}

static void others(uint8_t *heap)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register area = { .range = { (uint64_t)heap, PAGE }, .mode = UFFDIO_REGISTER_MODE_MISSING };
	unsigned char resident[4] = { 9, 9, 9, 9 };
	int uffd = syscall(SYS_userfaultfd, O_CLOEXEC);

	ok(msync(heap, PAGE, MS_SYNC) == -1 && errno == EINVAL, "msync: the device has no fsync");
	ok_eq(msync(heap, PAGE, MS_ASYNC), 0, "nothing to be done needs none");
	ok_eq(mlock(heap, 4 * PAGE), 0, "mlock");
	ok(!has_flag(heap, "lo"), "locks nothing");
	ok_eq(mlock2(heap, 4 * PAGE, 1 /* MLOCK_ONFAULT */), 0, "mlock2");
	ok(syscall(SYS_mlock2, heap, PAGE, 8) == -1 && errno == EINVAL, "with unknown flags");
	ok_eq(munlock(heap, 4 * PAGE), 0, "munlock");
	ok(mlock(heap, 1ul << 46) == -1 && errno == ENOMEM, "mlock of a range with gaps");
	ok_eq(mincore(heap, 4 * PAGE, resident), 0, "mincore");
	ok(!memcmp(resident, "\0\0\0", 4), "no page is in the page cache");
	ok(mincore(heap, PAGE, NULL) == -1 && errno == EFAULT, "into nowhere");
	if (uffd < 0) {
		ok(true, "# SKIP no userfaultfd here");
		return;
	}
	ok_eq(ioctl(uffd, UFFDIO_API, &api), 0, "userfaultfd");
	ok(ioctl(uffd, UFFDIO_REGISTER, &area) == -1 && errno == EINVAL, "is not of a device");
	ok(ioctl(enclave.fd, UFFDIO_REGISTER, &area) == -1 && errno == ENOTTY, "nor does a device register anything");
	close(uffd);
}

int main(void)
{
	struct enclave_options options = { .heap_pages = 16 };
	uint8_t *heap, *ordinary;
	pid_t child;
	int status;
	void *tcs;

	enclave_load(&enclave, &options);
	heap = enclave.base + enclave.heap;
	tcs = enclave_tcs(&enclave, 0);
	ok(has_flag(heap, "dd"), "an enclave is in no core dump");
	for (unsigned i = 0; i < sizeof(advices) / sizeof(*advices); i++) {
		ask(tcs, OP_WRITE, (uint64_t)heap, 0x100 + i, 0);
		printf("# advice %d\n", advices[i].advice);
		ok_eq(advise(heap, PAGE, advices[i].advice), advices[i].error, "what the kernel says");
		ok_eq(ask(tcs, OP_READ, (uint64_t)heap, 0, 0), 0x100 + i, "the enclave works, and has its contents");
	}
	status = advise(heap, PAGE, 100 /* MADV_HWPOISON */);
	ok(status == EFAULT || status == EPERM || status == EINVAL, "no page is poisoned");

	several(heap);
	others(heap);
	ask(tcs, OP_WRITE, (uint64_t)heap + PAGE, 77, 0);
	ordinary = mmap(heap, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	ranges(heap + PAGE, ordinary);
	ok_eq(ask(tcs, OP_READ, (uint64_t)heap + PAGE, 0, 0), 77, "nothing is lost");

	ok_eq(advise(heap + 2 * PAGE, PAGE, MADV_DONTFORK), 0, "MADV_DONTFORK");
	fflush(stdout);
	child = fork();
	if (!child) {
		signal(SIGSEGV, SIG_DFL);
		*(volatile uint8_t *)(heap + 2 * PAGE);
		_exit(0);
	}
	waitpid(child, &status, 0);
	ok(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV, "a child has nothing there");
	return done();
}
