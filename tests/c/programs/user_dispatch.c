/* A program that has its own system calls sent back to it (PR_SET_SYSCALL_USER_DISPATCH) uses an enclave. */
#include "enclave.h"

#include <sys/prctl.h>
#include <sys/syscall.h>

#ifndef PR_SET_SYSCALL_USER_DISPATCH
#define PR_SET_SYSCALL_USER_DISPATCH 59
#endif

static volatile char selector;
static volatile int count, number, code;

static void on_sigsys(int signo, siginfo_t *info, void *context)
{
	(void)signo, (void)context;
	selector = 0;
	count++;
	number = info->si_syscall;
	code = info->si_code;
}

static long own_getppid(void)
{
	long result;

	__asm__ volatile("syscall" : "=a"(result) : "a"((long)SYS_getppid) : "rcx", "r11", "memory");
	return result;
}

int main(void)
{
	struct enclave_options options = { .heap_pages = 64 };
	struct enclave enclave;
	struct outcome got;
	struct request write = { .op = OP_WRITE, .b = 5 }, syscall_inside = { .op = OP_INSTRUCTION, .a = INSN_SYSCALL };
	void *tcs;

	enclave_load(&enclave, &options);
	tcs = enclave_tcs(&enclave, 0);
	write.a = (uint64_t)enclave.base + enclave.heap;
	ask(tcs, OP_NOP, 0, 0, 0); /* the first attempt finds out about the design */
	handle(SIGSYS, on_sigsys);
	if (prctl(PR_SET_SYSCALL_USER_DISPATCH, 1, 0ul, 0ul, &selector)) {
		ok(errno == EINVAL, "# SKIP the kernel has none, or does not let a tracer change it");
		return done();
	}
	selector = 1;
	own_getppid();
	selector = 0;
	ok_eq(count, 1, "a system call is sent back");
	ok_eq(number, SYS_getppid, "si_syscall");
	ok_eq(code, 2, "si_code: SYS_USER_DISPATCH");

	selector = 1;
	got = attempt(tcs, &write, EENTER);
	selector = 0;
	ok_eq(count, 1, "the machine's are not");
	expect_exit("a page touched for the first time", got);
	selector = 1;
	got = attempt(tcs, &syscall_inside, EENTER);
	selector = 0;
	ok_eq(count, 1, "nor is one of an enclave");
	ok_eq(got.vector, 6, "it is #UD");
	drop_frame(tcs);

	selector = 1;
	own_getppid();
	selector = 0;
	ok_eq(count, 2, "the program's still are");
	ok(own_getppid() > 0, "with the selector open a call is made");
	ok_eq(prctl(PR_SET_SYSCALL_USER_DISPATCH, 0, 0, 0, 0), 0, "switched off");
	selector = 1;
	ok(own_getppid() > 0, "no call is sent back any more");
	return done();
}
