/* Timers and tgkill() at threads that are in one enclave together, and at one that visits three: every result is right. */
#include "enclave.h"

#include <sys/time.h>

#define ROUNDS 100000
#define SIGNALS 150

static struct enclave shared, several[3];
static volatile bool stop;
static volatile int wrong, handled;

static void on_signal(int signo, siginfo_t *info, void *context)
{
	(void)signo, (void)info, (void)context;
	__atomic_add_fetch(&handled, 1, __ATOMIC_RELAXED);
}

static void compute(void *tcs, uint64_t seed)
{
	struct request request = { .op = OP_CHECKSUM, .a = ROUNDS, .b = seed };
	uint64_t want = seed;

	for (int i = 0; i < ROUNDS; i++)
		want = checksum_round(want);
	if (attempt(tcs, &request, EENTER).function != EEXIT || request.result != want)
		wrong++;
}

static void *together(void *index)
{
	for (uint64_t i = 1; !stop; i++)
		compute(enclave_tcs(&shared, (uint64_t)index), i);
	return NULL;
}

static void *visitor(void *unused)
{
	for (uint64_t i = 1; !stop; i++)
		compute(enclave_tcs(&several[i % 3], 1), i);
	return unused;
}

int main(void)
{
	struct itimerval timer = { { 0, 5000 }, { 0, 5000 } }, none = { 0 };
	pthread_t threads[4];

	enclave_load(&shared, NULL);
	for (int i = 0; i < 3; i++)
		enclave_load(&several[i], NULL);
	handle(SIGUSR1, on_signal);
	handle(SIGALRM, on_signal);
	compute(enclave_tcs(&shared, 0), 1); /* the first attempt sets up */
	for (uint64_t i = 0; i < 3; i++)
		pthread_create(&threads[i], NULL, together, (void *)i);
	pthread_create(&threads[3], NULL, visitor, NULL);
	setitimer(ITIMER_REAL, &timer, NULL);
	for (int i = 0; i < SIGNALS; i++) {
		int before = handled;

		for (int j = 0; j < 4; j++)
			pthread_kill(threads[j], SIGUSR1);
		while (handled < before + 4)
			usleep(100);
	}
	setitimer(ITIMER_REAL, &none, NULL);
	stop = true;
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	ok_eq(wrong, 0, "every result");
	ok(handled >= 4 * SIGNALS, "every signal");
	return done();
}
