/* EENTER, AEX, ERESUME, EEXIT and EDECCSSA again and again, from as many threads as it is told, under a timer's signals if
   it is told to: what ERESUME gives back is what the AEX saved, and every result is right. */
#include "enclave.h"

#include <pthread.h>
#include <sys/time.h>

static struct enclave enclave;
static long count;
static _Atomic long wrong, signals;

static long round_of(void *tcs, uint64_t seed)
{
	struct state in, out = { 0 };
	struct request state = { .op = OP_STATE, .a = (uint64_t)&in, .c = (uint64_t)&out };
	struct request fix = { .op = OP_FIX_RIP, .a = 2 }, ud2 = { .op = OP_UD2 }, drop = { .op = OP_EDECCSSA };
	long bad;

	memset(&in, 0, sizeof in);
	for (int i = 0; i < 16; i++) {
		in.gpr[i] = seed = checksum_round(seed);
		memset(in.vector[i], seed, 16);
	}
	in.gpr[4] = in.gpr[6] = 0;	/* RSP, and where the enclave looks whether to go on */
	in.x87 = seed & 0xffff;
	bad = attempt(tcs, &state, EENTER).vector != 6;
	bad += attempt(tcs, &fix, EENTER).function != EEXIT || fix.cssa != 1;
	bad += attempt(tcs, &state, ERESUME).function != EEXIT;
	bad += memcmp(&in, &out, sizeof in) != 0;
	bad += attempt(tcs, &ud2, EENTER).vector != 6;
	bad += attempt(tcs, &drop, EENTER).function != EEXIT || drop.cssa != 1;
	return bad;
}

static void *work(void *argument)
{
	uint64_t index = (uint64_t)argument;

	for (long i = 0; i < count; i++)
		wrong += round_of(enclave_tcs(&enclave, index), index * count + i + 1);
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

	count = argc > 1 ? atol(argv[1]) : 100;
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
