/* The range-handler design: two libraries, each with an ENCLU and a handler of its own, and what unmapping does. */
#include "fault.h"

static struct enclave enclave;
volatile uint64_t other_count;

/* The other library's handler, which counts. */
void other(void);
__asm__(".text\nother: incq other_count(%rip)\n jmp raw_faulted\n");

/* Pages of code: ENCLU; jmp *0(%rip); .quad raw_returned */
static void *library(int pages)
{
	static const uint8_t code[] = { 0x0f, 0x01, 0xd7, 0xff, 0x25, 0, 0, 0, 0 };
	uint8_t *text = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t back = (uint64_t)raw_returned;

	memcpy(text, code, sizeof(code));
	memcpy(text + sizeof(code), &back, 8);
	return text;
}

static int call(void *start, uint64_t length, void *handler, uint64_t flags)
{
	struct enclu_sgx_range_handler arguments = { (uint64_t)start, length, (uint64_t)handler, flags };

	return ioctl(enclave.fd, ENCLU_SGX_IOC_REGISTER_RANGE_HANDLER, &arguments) ? errno : 0;
}

static int add(void *start, uint64_t length, void *handler) { return call(start, length, handler, 0); }

static int del(void *start, uint64_t length)
{
	struct enclu_sgx_range arguments = { (uint64_t)start, length };

	return ioctl(enclave.fd, ENCLU_SGX_IOC_UNREGISTER_RANGE_HANDLER, &arguments) ? errno : 0;
}

static void errors(uint8_t *text)
{
	int count = 0;

	ok_eq(add(text, PAGE, NULL), EINVAL, "no handler: EINVAL");
	ok_eq(add(text, PAGE, (void *)(1ull << 63)), EINVAL, "not a user address: EINVAL");
	ok_eq(add(text, 0, raw_faulted), EINVAL, "an empty range: EINVAL");
	ok_eq(add(text, 1ull << 47, raw_faulted), EINVAL, "beyond user space: EINVAL");
	ok_eq(add(text, -1ull, raw_faulted), EINVAL, "beyond all space: EINVAL");
	ok_eq(call(text, PAGE, raw_faulted, 1), EINVAL, "flags: EINVAL");
	ok_eq(ioctl(enclave.fd, ENCLU_SGX_IOC_REGISTER_RANGE_HANDLER, 8) ? errno : 0, EFAULT, "no structure: EFAULT");
	ok_eq(ioctl(enclave.fd, ENCLU_SGX_IOC_UNREGISTER_RANGE_HANDLER, 8) ? errno : 0, EFAULT, "no structure: EFAULT");
	ok_eq(del(text, PAGE), ENOENT, "nothing to unregister: ENOENT");
	ok_eq(add(text, PAGE, raw_faulted), 0, "registered");
	ok_eq(add(text, PAGE, raw_faulted), EEXIST, "again: EEXIST");
	ok_eq(add(text + PAGE - 1, 2, other), EEXIST, "overlapping: EEXIST");
	ok_eq(del(text, PAGE - 1), ENOENT, "another length: ENOENT");
	ok_eq(del(text + 1, PAGE), ENOENT, "another start: ENOENT");
	while (!add((void *)(0x10000000000 + count * PAGE), PAGE, other))
		count++;
	ok_eq(errno, ENOSPC, "too many: ENOSPC");
	ok_eq(count, 255, "256 ranges");
	while (count--)
		del((void *)(0x10000000000 + count * PAGE), PAGE);
	ok_eq(del(text, PAGE), 0, "unregistered");
	ok_eq(del(text, PAGE), ENOENT, "once only");
}

static void expect_gone(const char *name, uint8_t *text, uint64_t length)
{
	ok_eq(meet_ud2(&enclave, text, NULL), MET_SIGNAL, name);
	ok_eq(del(text, length), ENOENT, "not registered any more");
}

static void unmapping(void)
{
	uint8_t *text = library(2), *place = library(1);
	int device = open("/dev/sgx_enclave", O_RDWR);

	printf("# unmapping\n");
	add(text, 2 * PAGE, raw_faulted);
	mprotect(text, 2 * PAGE, PROT_NONE);
	mprotect(text, 2 * PAGE, PROT_READ | PROT_EXEC);
	ok_eq(meet_ud2(&enclave, text, NULL), MET_HANDLER, "mprotect keeps the registration");
	ok_eq(munmap(text + 1, PAGE) ? errno : 0, EINVAL, "a munmap that fails");
	ok_eq(munmap(text + 2 * PAGE, 0) ? errno : 0, EINVAL, "a munmap that fails");
	ok_eq(meet_ud2(&enclave, text, NULL), MET_HANDLER, "keeps the registration");
	munmap(text + PAGE, PAGE);
	expect_gone("munmap of a part", text, 2 * PAGE);

	text = library(2);
	add(text, 2 * PAGE, raw_faulted);
	mmap(text + PAGE, 1, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	expect_gone("a mapping over a part", text, 2 * PAGE);

	text = library(2);
	add(text, 2 * PAGE, raw_faulted);
	ok_eq(mmap(text + PAGE, PAGE, PROT_READ, MAP_SHARED | MAP_FIXED, device, 0), text + PAGE, "the device mapped");
	expect_gone("an enclave over a part", text, 2 * PAGE);

	text = library(2);
	add(text, 2 * PAGE, raw_faulted);
	mremap(text, 2 * PAGE, PAGE, 0);
	expect_gone("mremap that shrinks", text, 2 * PAGE);

	text = library(1);
	add(text, PAGE, raw_faulted);
	add(place, PAGE, other);
	ok(mremap(text, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, place) == place, "moved");
	expect_gone("mremap that moves: the new place", place, PAGE);
	ok_eq(del(text, PAGE), ENOENT, "the old place");

	text = library(1);
	add(text, PAGE, raw_faulted);
	ok(mremap(library(1), PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, text) == text, "moved onto a range");
	expect_gone("mremap onto a range", text, PAGE);
}

static uint8_t *first;

static int child(void)
{
	struct raw_fault fault;
	int met = meet_bad_tcs(&enclave, first, &fault);

	return met == MET_HANDLER && fault.leaf == EENTER && !del(first, PAGE) ? 42 : 1;
}

int main(int argc, char **argv)
{
	uint8_t *second;

	(void)argv;
	catch_signals();
	enclave_load(&enclave, NULL);
	first = library(1);
	second = library(1);
	if (argc > 1)
		return meet_ud2(&enclave, first, NULL) == MET_SIGNAL && caught.rip == (uint64_t)first &&
		       del(first, PAGE) == ENOENT ? 42 : 1;
	errors(first);
	ok_eq(meet_ud2(&enclave, first, NULL), MET_SIGNAL, "without a handler: a signal");
	add(first, PAGE, raw_faulted);
	expect_both(&enclave, first, "one library");
	ok_eq(meet_ud2(&enclave, second, NULL), MET_SIGNAL, "the other library's exceptions are signals still");
	add(second, 3, other);
	ok_eq(meet_ud2(&enclave, second, NULL), MET_HANDLER, "then have a handler");
	ok_eq(other_count, 1, "of their own");
	ok_eq(meet_ud2(&enclave, first, NULL), MET_HANDLER, "the first library has its handler");
	ok_eq(other_count, 1, "as before");
	ok_eq(meet_ud2(&enclave, raw_direct_enclu, NULL), MET_SIGNAL, "the program's own ENCLU has none");
	unmapping();
	ok_eq(in_child(child), 42, "a forked child has a copy");
	ok_eq(meet_ud2(&enclave, first, NULL), MET_HANDLER, "the parent keeps its own");
	ok_eq(in_child(exec_again), 42, "exec removes it");
	return done();
}
