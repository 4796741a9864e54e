/*
 * A thread whose struct rseq the kernel cannot write (`unwritable`), or that names no sequence (`garbage`), opens the
 * device, if it gets there: it dies of SIGSEGV on its next way back to user mode after it was off the processor.
 * Without glibc's own struct (GLIBC_TUNABLES=glibc.pthread.rseq=0).
 */
#include "enclave.h"

#include <linux/rseq.h>
#include <sys/syscall.h>

int main(int argc, char **argv)
{
	struct rseq *area = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (argc < 2 || syscall(SYS_rseq, area, 32, 0, 0x53053053)) {
		perror("rseq");
		return 77;
	}
	if (!strcmp(argv[1], "garbage"))
		area->rseq_cs = 0xdeadbeef00;
	else
		mprotect(area, PAGE, PROT_READ);
	open("/dev/sgx_enclave", O_RDWR);
	for (;;)
		usleep(1000);
}
