/* A difference from Linux, where it opens the device: a 32-bit system call of a program is the host kernel's alone. */
#include "enclave.h"

#include <setjmp.h>

static sigjmp_buf back;

static void on_segv(int signo, siginfo_t *info, void *context)
{
	(void)signo, (void)info, (void)context;
	siglongjmp(back, 1);
}

int main(void)
{
	char *path = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	long result;

	strcpy(path, "/dev/sgx_enclave");
	ok(open(path, O_RDWR) >= 0, "64-bit open()");
	handle(SIGSEGV, on_segv);
	if (sigsetjmp(back, 1)) {
		ok(true, "# SKIP this kernel has no 32-bit system calls");
		return done();
	}
	__asm__ volatile("int $0x80" : "=a"(result) : "a"(5L), "b"(path), "c"((long)O_RDWR), "d"(0L) : "memory", "r8", "r9", "r10", "r11");
	ok_eq((int)result, -ENOENT, "32-bit open(): the host has no such device");
	return done();
}
