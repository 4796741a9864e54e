/* A thread that single-steps itself enters by stops, and finds every ENCLU where it is, while another goes on. */
#include "enclave.h"

#include <pthread.h>

enum { STEPPED = 20, BESIDE = 20000 };
static struct enclave enclave;
static long others_wrong, enclus, steps, wrong;
static _Atomic int stepping;

static void on_trap(int signo, siginfo_t *info, void *context)
{
	const greg_t *regs = ((ucontext_t *)context)->uc_mcontext.gregs;
	const unsigned char *rip = (void *)regs[REG_RIP];

	(void)signo;
	if (info->si_code != TRAP_TRACE)
		return;
	steps++;
	enclus += regs[REG_RAX] == EENTER && rip[0] == 0x0f && rip[1] == 0x01 && rip[2] == 0xd7;
	wrong += (uint64_t)rip - (uint64_t)enclave.base < enclave.size;
}

static void *beside(void *argument)
{
	(void)argument;
	while (!stepping)
		;
	for (long i = 0; i < BESIDE; i++) {
		struct request request = { .op = OP_ADD, .a = 1, .b = i };

		others_wrong += enclave_call(enclave_tcs(&enclave, 1), &request, NULL) || request.result != request.a + i;
	}
	return NULL;
}

int main(void)
{
	pthread_t other;
	long results = 0;

	enclave_load(&enclave, NULL);
	handle(SIGTRAP, on_trap);
	pthread_create(&other, NULL, beside, NULL);
	for (uint64_t i = 0; i < STEPPED; i++) {
		struct request request = { .op = OP_ADD, .a = 1000, .b = i };

		__asm__ volatile("pushf; orl $0x100, (%%rsp); popf" ::: "memory", "cc");
		results += enclave_call(enclave_tcs(&enclave, 0), &request, NULL) || request.result != 1000 + i;
		__asm__ volatile("pushf; andl $~0x100, (%%rsp); popf" ::: "memory", "cc");
		stepping = 1;
	}
	pthread_join(other, NULL);
	ok_eq(results, 0, "results of the thread that steps");
	ok(steps > STEPPED * 20, "it steps");
	ok_eq(enclus, STEPPED, "and stands before each EENTER once");
	ok_eq(wrong, 0, "but nowhere in the enclave");
	ok_eq(others_wrong, 0, "results of the other thread");
	return done();
}
