/* What the machine keeps in a program (memory behind its vDSO) the program cannot take away. */
#include "enclave.h"

#include <sys/auxv.h>
#include <sys/syscall.h>

int main(void)
{
	uint8_t *own = (uint8_t *)getauxval(AT_SYSINFO_EHDR), *ordinary;
	uint64_t size = 0x20000;
	struct enclave enclave;

	for (int opened = 0; opened < 2; opened++) {
		printf("# the device has %sbeen opened\n", opened ? "" : "not ");
		ok(munmap(own + 0x10000, 0x10000) == -1 && errno == EPERM, "munmap");
		ok(munmap(own + 0x1f000, 2 * PAGE) == -1 && errno == EPERM, "of some of it");
		ok_eq(mprotect(own, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC), 0, "mprotect of the vDSO, as by a debugger");
		ok_eq(mprotect(own, PAGE, PROT_READ | PROT_EXEC), 0, "and back");
		ok(mprotect(own + 0x3000, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC) == -1 && errno == EPERM, "of what is behind");
		ok(mprotect(own + 0x10000, PAGE, PROT_NONE) == -1 && errno == EPERM, "and of the last of it");
		ok(mmap(own + 0x10000, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED && errno == EPERM, "mmap over it");
		ordinary = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		ok(mremap(own + 0x10000, 0x10000, 0x10000, MREMAP_MAYMOVE | MREMAP_FIXED, ordinary) == MAP_FAILED && errno == EPERM, "moved away");
		ok(mremap(ordinary, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, own + 0x10000) == MAP_FAILED && errno == EPERM, "replaced");
		ok(madvise(own + 0x3000, PAGE, MADV_DONTNEED) == -1 && errno == EPERM, "discarded");
		ok_eq(syscall(462 /* mseal */, own + 0x10000, 0x10000, 0), 0, "sealed once more");
		if (!opened)
			enclave_load(&enclave, NULL);
	}
	ok_eq(ask(enclave_tcs(&enclave, 0), OP_ADD, 1, 2, 0), 3, "enclaves work");
	return done();
}
