/*
 * SIGSTKFLT, by which the machine finds out error codes: to the program it is a signal like any other, also after an
 * exception whose code was asked for.
 */
#include "fault.h"

#include <stdatomic.h>

#define FORKS 25

static struct enclave enclave;
static volatile struct { int count, code, value; } seen;

static void on_signal(int signo, siginfo_t *info, void *context)
{
	(void)signo, (void)context;
	seen.count++;
	seen.code = info->si_code;
	seen.value = info->si_value.sival_int;
}

/* An access that the EPCM refuses: its code is asked for. */
static void fault(void)
{
	void *tcs = enclave_tcs(&enclave, 0);
	struct request request = { .op = OP_READ, .a = (uint64_t)tcs };
	struct outcome got = attempt(tcs, &request, EENTER);

	ok_eq(got.error, 0x8005, "the code is told");
	drop_frame(tcs);
}

static void queue(int value)
{
	sigqueue(getpid(), SIGSTKFLT, (union sigval){ .sival_int = value });
}

static int sent(void)
{
	raise(SIGSTKFLT);
	return 0;
}

static atomic_int stop;

/* Codes are asked for, and the action is looked at, all the time. */
static void *busy(void *unused)
{
	void *tcs = enclave_tcs(&enclave, 1);
	struct request request = { .op = OP_READ, .a = (uint64_t)tcs };
	struct sigaction action;

	while (!stop) {
		sigaction(SIGSTKFLT, NULL, &action);
		attempt(tcs, &request, EENTER);
		drop_frame(tcs);
	}
	return unused;
}

static void leave(int signo, siginfo_t *info, void *context)
{
	(void)info, (void)context;
	_exit(signo);
}

static int touched(void)
{
	handle(SIGBUS, leave);
	*(volatile uint8_t *)(enclave.base + enclave.data) = 1;
	return 0;
}

static int action_is_default(void)
{
	struct sigaction action;

	return sigaction(SIGSTKFLT, NULL, &action) || action.sa_handler != SIG_DFL;
}

int main(void)
{
	struct sigaction action = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO };
	struct timespec none = { 0 };
	sigset_t set, pending;
	siginfo_t info;
	pthread_t thread;
	int faulted = 0, killed = 0;

	enclave_load(&enclave, NULL);
	sigemptyset(&set);
	sigaddset(&set, SIGSTKFLT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	queue(7);
	fault();
	ok_eq(sigtimedwait(&set, &info, &none), SIGSTKFLT, "pending when a code is asked for first, it stays so");
	ok_eq(info.si_code, SI_QUEUE, "as it was sent");
	ok_eq(info.si_value.sival_int, 7, "with its value");
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	ok_eq(action_is_default(), 0, "its action is the default one");
	ok_eq(in_child(action_is_default), 0, "in a child, too");
	ok_eq(in_child(sent), -SIGSTKFLT, "which it kills");
	fault();
	ok_eq(in_child(sent), -SIGSTKFLT, "after another one as well");

	pthread_create(&thread, NULL, busy, NULL);
	for (int i = 0; i < FORKS; i++) {
		faulted += in_child(touched) == SIGBUS;
		killed += in_child(sent) == -SIGSTKFLT;
	}
	stop = 1;
	pthread_join(thread, NULL);
	ok_eq(faulted, FORKS, "children made at any moment can be asked for codes");
	ok_eq(killed, FORKS, "and are killed by it");

	sigprocmask(SIG_BLOCK, &set, NULL);
	queue(1);
	fault();
	sigpending(&pending);
	ok_eq(sigismember(&pending, SIGSTKFLT), 1, "blocked, it is pending, and stays so while codes are asked for");
	sigaction(SIGSTKFLT, &action, NULL);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	ok_eq(seen.count, 1, "a handler gets it");
	ok_eq(seen.code, SI_QUEUE, "with its code");
	ok_eq(seen.value, 1, "and value");

	fault();
	queue(2);
	ok_eq(seen.count, 2, "a handler is kept while codes are asked for");
	ok_eq(seen.value, 2, "and gets the next one");
	signal(SIGSTKFLT, SIG_IGN);
	fault();
	queue(3);
	ok_eq(seen.count, 2, "ignored, it goes nowhere");
	signal(SIGSTKFLT, SIG_DFL);
	fault();
	ok_eq(in_child(sent), -SIGSTKFLT, "and by default it kills again");
	return done();
}
