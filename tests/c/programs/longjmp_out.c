/* siglongjmp() out of a handler that interrupted an enclave: the TCS can be entered anew, and resumed after that. */
#include "enclave.h"

#include <setjmp.h>
#include <sys/time.h>

static sigjmp_buf back;
static volatile uint32_t flag, inside;

static void on_alarm(int signo, siginfo_t *info, void *context)
{
	(void)signo, (void)info;
	if (((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP] == (greg_t)raw_count_aep && inside)
		siglongjmp(back, 1);
}

int main(void)
{
	struct itimerval timer = { { 0, 2000 }, { 0, 2000 } }, none = { 0 };
	struct request spin = { .op = OP_SPIN, .a = (uint64_t)&flag, .b = (uint64_t)&inside }, nop = { .op = OP_NOP };
	struct enclave enclave;
	struct raw_fault fault;
	void *tcs;

	enclave_load(&enclave, NULL);
	tcs = enclave_tcs(&enclave, 0);
	handle(SIGALRM, on_alarm);
	setitimer(ITIMER_REAL, &timer, NULL);
	if (!sigsetjmp(back, 1)) {
		raw_enter_count(EENTER, tcs, &spin, &fault);
		ok(false, "jumped out");
	}
	setitimer(ITIMER_REAL, &none, NULL);
	ok_eq(raw_enter_count(EENTER, tcs, &nop, &fault), RAW_EXITED, "entered anew");
	ok_eq(nop.cssa, 1, "at CSSA 1");
	flag = 1;
	ok_eq(raw_enter_count(ERESUME, tcs, &spin, &fault), RAW_EXITED, "resumed to its end");
	ok_eq(raw_enter_count(EENTER, tcs, &nop, &fault), RAW_EXITED, "entered again");
	ok_eq(nop.cssa, 0, "at CSSA 0");
	return done();
}
