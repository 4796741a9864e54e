/* MXCSR: EENTER and EEXIT leave it alone, an AEX replaces it, ERESUME brings the enclave's back. */
#include "enclave.h"

#define PROGRAMS 0x7f80u
#define ENCLAVES 0x3f80u

static volatile uint32_t flag;
static volatile uint32_t seen;

static uint32_t mxcsr(void)
{
	uint32_t value;

	__asm__ volatile("stmxcsr %0" : "=m"(value));
	return value;
}

static void set_mxcsr(uint32_t value)
{
	__asm__ volatile("ldmxcsr %0" : : "m"(value));
}

static void on_signal(int signo, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	(void)signo, (void)info;
	if (uc->uc_mcontext.gregs[REG_RIP] == (greg_t)raw_count_aep) {
		seen = uc->uc_mcontext.fpregs->mxcsr;
		flag = 1;
	}
}

static void *signaller(void *thread)
{
	while (!flag) {
		pthread_kill(*(pthread_t *)thread, SIGUSR1);
		usleep(1000);
	}
	return NULL;
}

int main(void)
{
	uint32_t enclaves = ENCLAVES;
	struct request load = { .op = OP_INSTRUCTION, .a = INSN_LDMXCSR, .b = (uint64_t)&enclaves };
	struct request store = { .op = OP_INSTRUCTION, .a = INSN_STMXCSR }, spin = { .op = OP_SPIN, .a = (uint64_t)&flag };
	pthread_t self = pthread_self(), thread;
	struct enclave enclave;
	struct raw_fault fault;
	void *tcs;

	handle(SIGUSR1, on_signal);
	enclave_load(&enclave, NULL);
	tcs = enclave_tcs(&enclave, 0);
	raw_enter_count(EENTER, tcs, &store, &fault); /* the pages are there from now on: no AEX by their faults */
	raw_enter_count(EENTER, tcs, &load, &fault);
	set_mxcsr(PROGRAMS);
	raw_enter_count(EENTER, tcs, &store, &fault);
	ok_eq((uint32_t)store.result, PROGRAMS, "the enclave gets the program's");
	raw_enter_count(EENTER, tcs, &load, &fault);
	ok_eq(mxcsr(), ENCLAVES, "the program gets the enclave's");
	set_mxcsr(PROGRAMS);
	pthread_create(&thread, NULL, signaller, &self);
	raw_enter_count(EENTER, tcs, &spin, &fault);
	ok_eq(mxcsr(), PROGRAMS, "after AEX and ERESUME it is what it was in the enclave");
	pthread_join(thread, NULL);
	ok_eq(seen, 0x1fb0, "outside it was the AEX's");
	return done();
}
