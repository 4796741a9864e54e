/* Enters and leaves an enclave again and again, from as many threads as it is told, under a timer's signals if it is told
   to: every result is right. */
#include "enclave.h"

#include <pthread.h>
#include <signal.h>
#include <sys/time.h>

static struct enclave enclave;
static long count;
static _Atomic long wrong, signals;

static void *work(void *argument)
{
	uint64_t index = (uint64_t)argument;

	for (long i = 0; i < count; i++) {
		struct request request = { .op = OP_ADD, .a = index << 32, .b = i };

		wrong += enclave_call(enclave_tcs(&enclave, index), &request, NULL) || request.result != request.a + i;
	}
	return NULL;
}

static void tick(int signo)
{
	signals += signo == SIGALRM;
}

int main(int argc, char **argv)
{
	long threads = argc > 2 ? atol(argv[2]) : 1, us = argc > 3 ? atol(argv[3]) : 0;
	struct itimerval timer = { { 0, us }, { 0, us } };
	pthread_t others[TEST_TCS_COUNT];

	count = argc > 1 ? atol(argv[1]) : 1000;
	enclave_load(&enclave, NULL);
	signal(SIGALRM, tick);
	setitimer(ITIMER_REAL, &timer, NULL);
	for (long i = 1; i < threads; i++)
		pthread_create(&others[i], NULL, work, (void *)i);
	work(NULL);
	for (long i = 1; i < threads; i++)
		pthread_join(others[i], NULL);
	memset(&timer, 0, sizeof timer);
	setitimer(ITIMER_REAL, &timer, NULL);
	ok_eq(wrong, 0, "results");
	ok(!us || signals > 0, "signals came");
	return done();
}
