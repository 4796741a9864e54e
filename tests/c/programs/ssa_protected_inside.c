/* mprotect(PROT_NONE) of the SSA while a thread is inside: the AEX still saves there, ERESUME faults until it is undone. */
#include "enclave.h"

static volatile uint32_t inside, stop;
static uint8_t *ssa;

static void *protect(void *unused)
{
	while (!inside)
		usleep(100);
	mprotect(ssa, PAGE, PROT_NONE);
	return unused;
}

int main(void)
{
	struct request spin = { .op = OP_SPIN, .a = (uint64_t)&stop, .b = (uint64_t)&inside }, nop = { .op = OP_NOP };
	struct enclave enclave;
	pthread_t thread;
	void *tcs;

	enclave_load(&enclave, NULL);
	tcs = enclave_tcs(&enclave, 1);
	ssa = enclave_ssa(&enclave, 1, 0);
	pthread_create(&thread, NULL, protect, NULL);
	expect_fault("ERESUME", attempt(tcs, &spin, EENTER), ERESUME, 14, 6, (uint64_t)ssa);
	pthread_join(thread, NULL);
	expect_fault("again", attempt(tcs, &spin, ERESUME), ERESUME, 14, 6, (uint64_t)ssa);
	mprotect(ssa, PAGE, PROT_READ);
	expect_fault("read-only is not enough", attempt(tcs, &spin, ERESUME), ERESUME, 14, 7, (uint64_t)ssa);
	mprotect(ssa, PAGE, PROT_READ | PROT_WRITE);
	stop = 1;
	expect_exit("resumed, with the state of that AEX", attempt(tcs, &spin, ERESUME));
	expect_exit("the TCS can be entered again", attempt(tcs, &nop, EENTER));
	ok_eq(nop.cssa, 0, "at CSSA 0");
	return done();
}
