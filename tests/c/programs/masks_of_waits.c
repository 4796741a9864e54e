/*
 * Two threads wait at once, in ppoll with masks of their own: each is interrupted only by the signal that its own mask
 * lets through, though the other's is pending all the time. Their numbers are 512 apart. `native`: without an enclave.
 */
#include "enclave.h"

#include <poll.h>
#include <sys/syscall.h>

#define ROUNDS 100
#define APART 512

static pthread_barrier_t begun;
static const int own[2] = { SIGUSR1, SIGUSR2 };
static volatile int caught[2], wrong, interrupted;
static volatile pid_t first;

static void on_signal(int signo, siginfo_t *info, void *context)
{
	(void)info, (void)context;
	caught[signo == SIGUSR2]++;
}

static void *waits(void *argument)
{
	int which = (long)argument;
	sigset_t blocked, mask;

	sigemptyset(&blocked);
	sigaddset(&blocked, SIGUSR1);
	sigaddset(&blocked, SIGUSR2);
	pthread_sigmask(SIG_BLOCK, &blocked, NULL);
	sigfillset(&mask);
	sigdelset(&mask, own[which]);
	pthread_kill(pthread_self(), own[!which]);
	for (int round = 0; round < ROUNDS; round++) {
		struct timespec short_time = { 0, 5000000 };
		bool sent = round % 2;

		pthread_barrier_wait(&begun);
		if (sent)
			pthread_kill(pthread_self(), own[which]);
		if (ppoll(NULL, 0, &short_time, &mask) != (sent ? -1 : 0))
			wrong++;
		else if (sent)
			__atomic_add_fetch(&interrupted, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

static void *is_apart(void *unused)
{
	if (syscall(SYS_gettid) % APART != first % APART)
		return unused;
	waits((void *)1);
	return &begun;
}

static void *is_first(void *argument)
{
	first = syscall(SYS_gettid);
	return waits(argument);
}

int main(int argc, char **argv)
{
	struct enclave enclave;
	pthread_t one, other;
	void *found = NULL;

	if (argc < 2 || strcmp(argv[1], "native")) {
		enclave_load(&enclave, NULL);
		ask(enclave_tcs(&enclave, 0), OP_NOP, 0, 0, 0);
	}
	handle(SIGUSR1, on_signal);
	handle(SIGUSR2, on_signal);
	pthread_barrier_init(&begun, NULL, 2);
	pthread_create(&one, NULL, is_first, (void *)0);
	while (!first)
		usleep(1000);
	while (!found) {
		pthread_create(&other, NULL, is_apart, NULL);
		pthread_join(other, &found);
	}
	pthread_join(one, NULL);
	ok_eq(wrong, 0, "each wait ends as its own mask wants it");
	ok_eq(interrupted, ROUNDS, "by its own signal where that was sent");
	ok(caught[0] == ROUNDS / 2 && caught[1] == ROUNDS / 2, "no signal was caught but those");
	return done();
}
