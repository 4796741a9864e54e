/* Four threads that raise exceptions at the same time. */
#ifndef SCENARIOS_THREADS_H
#define SCENARIOS_THREADS_H

#include "pair.h"

#include <pthread.h>

enum { THREADS = 4, ROUNDS = 10 };

struct worker {
	pthread_t thread;
	struct pair *pair;
	unsigned int tcs;
	pthread_barrier_t *barrier;
	unsigned int right;
};

static void *work(void *argument)
{
	struct worker *worker = argument;

	pthread_barrier_wait(worker->barrier);
	for (int i = 0; i < ROUNDS; i++)
		worker->right += pair_fault(worker->pair, worker->tcs);
	return NULL;
}

/* Each thread with its own of `pairs`, at its own of `tcs`. */
static inline void run_threads(struct pair *pairs, const unsigned int *tcs)
{
	struct worker workers[THREADS];
	pthread_barrier_t barrier;

	pthread_barrier_init(&barrier, NULL, THREADS);
	for (int i = 0; i < THREADS; i++) {
		workers[i] = (struct worker){ .pair = &pairs[i], .tcs = tcs[i], .barrier = &barrier };
		pthread_create(&workers[i].thread, NULL, work, &workers[i]);
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(workers[i].thread, NULL);
	for (int i = 0; i < THREADS; i++) {
		ok_eq(workers[i].right, ROUNDS, "the handler of thread %d is told of all of its exceptions", i);
		ok_eq(pairs[i].times, ROUNDS, "and of no others");
	}
}

#endif
