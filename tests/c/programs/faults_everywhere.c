/* Threads fault by turns in an enclave and outside, all at the same time: each is told of its own. */
#include "enclave.h"

#include <sched.h>

enum { THREADS = 4, ROUNDS = 200 };

static volatile int inside, outside, other;

/* A load that faults; skip() goes on behind it. */
uint64_t load_null(void);
extern uint8_t load_null_at[], load_null_next[];
__asm__(".text\n.globl load_null\nload_null: xor %eax, %eax\nload_null_at: mov (%rax), %rax\nload_null_next: ret\n");

static void skip(int signo, siginfo_t *info, void *context)
{
	greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;

	(void)signo;
	if (registers[REG_RIP] != (greg_t)load_null_at || info->si_addr)
		other++;
	registers[REG_RIP] = (greg_t)load_null_next;
	__atomic_add_fetch(&outside, 1, __ATOMIC_RELAXED);
}

static void *fault(void *tcs)
{
	struct request request = { .op = OP_READ, .a = 8 };
	struct sched_param none = { 0 };

	/* It may take long from a signal's delivery to the handler's first instruction. */
	sched_setscheduler(0, SCHED_IDLE, &none);
	for (int i = 0; i < ROUNDS; i++) {
		struct outcome outcome = attempt(tcs, &request, EENTER);

		if (outcome.function == ERESUME && outcome.vector == 14 && outcome.error == 4)
			__atomic_add_fetch(&inside, 1, __ATOMIC_RELAXED);
		drop_frame(tcs);
		load_null();
	}
	return NULL;
}

int main(void)
{
	pthread_t threads[THREADS];
	struct enclave enclave;

	handle(SIGSEGV, skip);
	enclave_load(&enclave, NULL);
	for (int i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, fault, enclave_tcs(&enclave, i));
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	ok_eq(inside, THREADS * ROUNDS, "faults in the enclave");
	ok_eq(outside, THREADS * ROUNDS, "faults outside");
	ok_eq(other, 0, "and no others");
	return done();
}
