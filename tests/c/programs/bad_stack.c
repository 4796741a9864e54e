/* An exception of an enclave whose program left no usable stack: its signal becomes SIGSEGV, on the alternate stack. */
#include "enclave.h"

#include <setjmp.h>

static sigjmp_buf back;
static volatile int signo, ill;
static volatile uint64_t rip, rsp;
static char alternate[65536];

static void on_segv(int got, siginfo_t *info, void *context)
{
	greg_t *r = ((ucontext_t *)context)->uc_mcontext.gregs;

	(void)info;
	signo = got;
	rip = r[REG_RIP];
	rsp = r[REG_RSP];
	siglongjmp(back, 1);
}

static void on_ill(int got, siginfo_t *info, void *context)
{
	(void)got, (void)info, (void)context;
	ill++;
}

static __attribute__((noinline)) void enter_without_stack(void *tcs, struct request *request)
{
	__asm__ volatile("lea raw_once_aep(%%rip), %%rcx; mov $0x1000, %%esp; xor %%ebp, %%ebp; mov $2, %%eax\n"
			 "1: .byte 0x0f, 0x01, 0xd7; jmp 1b"
			 : : "b"(tcs), "D"(request) : "memory");
	__builtin_unreachable();
}

int main(void)
{
	struct sigaction action = { .sa_sigaction = on_segv, .sa_flags = SA_SIGINFO | SA_ONSTACK };
	stack_t stack = { .ss_sp = alternate, .ss_size = sizeof(alternate) };
	struct request ud2 = { .op = OP_UD2 }, nop = { .op = OP_NOP };
	struct enclave enclave;
	struct raw_fault fault;

	enclave_load(&enclave, NULL);
	raw_enter_count(EENTER, enclave_tcs(&enclave, 0), &nop, &fault);
	sigaltstack(&stack, NULL);
	sigaction(SIGSEGV, &action, NULL);
	handle(SIGILL, on_ill);
	if (!sigsetjmp(back, 1))
		enter_without_stack(enclave_tcs(&enclave, 0), &ud2);
	ok_eq(signo, SIGSEGV, "SIGSEGV");
	ok_eq(ill, 0, "no SIGILL: its frame had no place");
	ok_eq(rip, (uint64_t)raw_once_aep, "at the AEP");
	ok_eq(rsp, 0x1000, "with the stack pointer of EENTER");
	ok_eq(raw_enter_count(EENTER, enclave_tcs(&enclave, 1), &nop, &fault), RAW_EXITED, "the program goes on");
	return done();
}
