/*
 * EENTER and EEXIT of an empty request: microseconds a pair, on stdout.  pair [COUNT [THREADS [TIMER_US]]]: as many pairs by
 * each thread, at a TCS of its own, under a timer's signals.
 */
#include "enclave.h"

#include <pthread.h>
#include <sys/time.h>
#include <time.h>

static struct enclave enclave;
static pthread_barrier_t begin;
static long count;
static double slowest;

static void *function;	/* the vDSO's, under the design that has it */

/* Nothing but the call: what a caller does besides is no part of a pair. */
static void enter(struct sgx_enclave_run *run, struct request *request)
{
	struct raw_fault fault;
	void *target = function;
	long leaf = EENTER;

	if (!target) {
		raw_enter_count(leaf, (void *)run->tcs, request, &fault);
		return;
	}
	asm volatile("push %[run]; call *%[target]; add $8, %%rsp"
		     : "+D"(request), "+c"(leaf), [target] "+a"(target)
		     : [run] "r"(run)
		     : "rbx", "rdx", "rsi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory", "cc");
}

static void *work(void *argument)
{
	long index = (long)argument;
	struct sgx_enclave_run run = { .tcs = (uint64_t)enclave_tcs(&enclave, index) };
	struct request nop = { .op = OP_NOP };
	struct timespec a, b;
	double us;

	for (int i = 0; i < 1000; i++)
		enter(&run, &nop);
	pthread_barrier_wait(&begin);
	clock_gettime(CLOCK_MONOTONIC, &a);
	for (long i = 0; i < count; i++)
		enter(&run, &nop);
	clock_gettime(CLOCK_MONOTONIC, &b);
	us = ((b.tv_sec - a.tv_sec) * 1e9 + (b.tv_nsec - a.tv_nsec)) / count / 1e3;
	pthread_barrier_wait(&begin);
	if (us > slowest)
		slowest = us;
	pthread_barrier_wait(&begin);
	return NULL;
}

static void tick(int signo)
{
	(void)signo;
}

int main(int argc, char **argv)
{
	long threads = argc > 2 ? atol(argv[2]) : 1, us = argc > 3 ? atol(argv[3]) : 0;
	struct itimerval timer = { { 0, us }, { 0, us } };
	pthread_t others[TEST_TCS_COUNT];

	count = argc > 1 ? atol(argv[1]) : 20000;
	enclave_load(&enclave, NULL);
	function = strcmp(delivery(), "vdso") ? NULL : vdso_symbol("__vdso_sgx_enter_enclave");
	pthread_barrier_init(&begin, NULL, threads);
	signal(SIGALRM, tick);
	setitimer(ITIMER_REAL, &timer, NULL);
	for (long i = 1; i < threads; i++)
		pthread_create(&others[i], NULL, work, (void *)i);
	work(NULL);
	for (long i = 1; i < threads; i++)
		pthread_join(others[i], NULL);
	printf("%.4f\n", slowest);
	return 0;
}
