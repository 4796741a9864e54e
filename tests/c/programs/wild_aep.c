/* An AEP that leads nowhere: an exception's signal finds RIP there, an AEX of which nobody knows makes it fault there. */
#include "enclave.h"

#include <setjmp.h>
#include <sys/syscall.h>

#define KERNEL 0xffff800000001000	/* an address that only the kernel may use */

static sigjmp_buf back;
static volatile int signo, code;
static volatile uint64_t rip, rax, address;

static void on_signal(int got, siginfo_t *info, void *context)
{
	greg_t *r = ((ucontext_t *)context)->uc_mcontext.gregs;

	signo = got;
	code = info->si_code;
	address = (uint64_t)info->si_addr;
	rip = r[REG_RIP];
	rax = r[REG_RAX];
	siglongjmp(back, 1);
}

static __attribute__((noinline)) void enter(void *tcs, struct request *request, uint64_t aep)
{
	__asm__ volatile("mov $2, %%eax; .byte 0x0f, 0x01, 0xd7; int3" : : "b"(tcs), "D"(request), "c"(aep) : "memory", "rax");
}

int main(void)
{
	struct request ud2 = { .op = OP_UD2 };
	struct enclave enclave;

	enclave_load(&enclave, NULL);
	handle(SIGILL, on_signal);
	handle(SIGSEGV, on_signal);
	if (!sigsetjmp(back, 1))
		enter(enclave_tcs(&enclave, 0), &ud2, 0x1000);
	ok(signo == SIGSEGV && code == SEGV_MAPERR && rip == 0x1000 && address == 0x1000 && rax == ERESUME,
	   "the first page fault, which the kernel resolves: SIGSEGV at the AEP");
	while (signo == SIGSEGV && rax == ERESUME && rip == 0x1000)
		if (!sigsetjmp(back, 1))
			enter(enclave_tcs(&enclave, 1), &ud2, 0x1000);
	ok(signo == SIGILL && rip == 0x1000 && address == 0x1000 && rax == ERESUME, "#UD: SIGILL with RIP at the AEP");
	if (!sigsetjmp(back, 1))
		enter(enclave_tcs(&enclave, 2), &ud2, 0x800000000000);
	ok(signo == SIGSEGV && code == SI_KERNEL && rax == EENTER, "not canonical: #GP of EENTER");
	if (!sigsetjmp(back, 1))
		enter(enclave_tcs(&enclave, 3), &ud2, KERNEL);
	ok(signo == SIGILL && rip == KERNEL && rax == ERESUME, "in the kernel's half: SIGILL with RIP there");
	if (!sigsetjmp(back, 1))
		((void (*)(void))KERNEL)();
	ok(signo == SIGSEGV && rip == KERNEL && address == KERNEL, "a jump to the kernel's half: SIGSEGV with RIP there");
	ok_eq(syscall(SYS_clone3, KERNEL, 88), -1, "clone3 with arguments there");
	ok_eq(errno, EFAULT, "EFAULT");
	return done();
}
