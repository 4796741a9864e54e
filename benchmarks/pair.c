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

static void *work(void *argument)
{
	long index = (long)argument;
	struct request nop = { .op = OP_NOP };
	struct timespec a, b;
	double us;

	for (int i = 0; i < 1000; i++)
		enclave_call(enclave_tcs(&enclave, index), &nop, NULL);
	pthread_barrier_wait(&begin);
	clock_gettime(CLOCK_MONOTONIC, &a);
	for (long i = 0; i < count; i++)
		enclave_call(enclave_tcs(&enclave, index), &nop, NULL);
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
