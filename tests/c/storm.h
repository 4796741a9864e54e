/* A program that does the same again and again: PROGRAM [COUNT [THREADS [TIMER_US]]]. */
#ifndef ENCLU_TESTS_STORM_H
#define ENCLU_TESTS_STORM_H

#include "enclave.h"

#include <sys/time.h>

static long storm_count;
static _Atomic long storm_wrong, storm_signals;
static long (*storm_round)(void *tcs, uint64_t index, uint64_t i);
static struct enclave storm_enclave;
static const struct enclave_options *storm_options;	/* of the enclave, if not the usual ones */

static void *storm_work(void *argument)
{
	uint64_t index = (uint64_t)argument;

	for (long i = 0; i < storm_count; i++)
		storm_wrong += storm_round(enclave_tcs(&storm_enclave, index), index, i);
	return NULL;
}

static void storm_tick(int signo)
{
	storm_signals += signo == SIGALRM;
}

/* `round` is called COUNT times by each thread, with a TCS of its own, under a timer's signals; it says what was wrong. */
static int storm(int argc, char **argv, long count, long (*round)(void *tcs, uint64_t index, uint64_t i))
{
	long threads = argc > 2 ? atol(argv[2]) : 1, us = argc > 3 ? atol(argv[3]) : 0;
	struct itimerval timer = { { 0, us }, { 0, us } };
	pthread_t others[TEST_TCS_COUNT];

	storm_count = argc > 1 ? atol(argv[1]) : count;
	storm_round = round;
	enclave_load(&storm_enclave, storm_options);
	signal(SIGALRM, storm_tick);
	setitimer(ITIMER_REAL, &timer, NULL);
	for (long i = 1; i < threads; i++)
		pthread_create(&others[i], NULL, storm_work, (void *)i);
	storm_work(NULL);
	for (long i = 1; i < threads; i++)
		pthread_join(others[i], NULL);
	memset(&timer, 0, sizeof timer);
	setitimer(ITIMER_REAL, &timer, NULL);
	ok_eq(storm_wrong, 0, "results");
	ok(!us || storm_signals > 0, "signals came");
	if (storm_options && storm_options->tcs_flags & TCS_AEXNOTIFY)
		ok(!us || ask(enclave_tcs(&storm_enclave, 0), OP_NOTIFIED, 0, 0, 0) > 0, "of which the enclave was notified");
	return done();
}

#endif
