/*
 * The same exception of an enclave again and again: it is the same each time, whatever threads besides it do with
 * SIGSTKFLT and with their masks, and the thread's alternate stack stays as it is.
 */
#include "enclave.h"

#define TIMES 50
#ifndef SS_AUTODISARM
#define SS_AUTODISARM (1u << 31)
#endif

static struct enclave enclave;
static volatile int stop;
static volatile long handled;

static void on_stkflt(int signo)
{
	handled += signo == SIGSTKFLT;
}

static long repeat(void *tcs, int times)
{
	struct request request = { .op = OP_READ, .a = (uint64_t)tcs + 16 };
	long bad = 0;

	for (int i = 0; i < times; i++) {
		struct outcome got = attempt(tcs, &request, i ? ERESUME : EENTER);

		bad += got.function != ERESUME || got.vector != 14 || got.error != 0x8005 || got.address != (uint64_t)tcs;
	}
	drop_frame(tcs);
	return bad;
}

static void *others(void *tcs)
{
	long bad = 0;

	while (!stop)
		bad += repeat(tcs, TIMES);
	return (void *)bad;
}

/* Whether the alternate stack is what it was set to. */
static bool same_stack(const stack_t *want)
{
	stack_t now;

	sigaltstack(NULL, &now);
	return now.ss_sp == want->ss_sp && now.ss_size == want->ss_size && now.ss_flags == want->ss_flags;
}

int main(void)
{
	void *tcs, *bad;
	stack_t plain = { .ss_sp = malloc(1 << 16), .ss_size = 1 << 16 }, disarmed = plain, none = { .ss_flags = SS_DISABLE };
	struct sigaction action = { .sa_handler = on_stkflt }, former;
	pthread_t thread;
	sigset_t all, before;

	enclave_load(&enclave, NULL);
	tcs = enclave_tcs(&enclave, 0);
	ok_eq(repeat(tcs, TIMES), 0, "each is the same");
	sigaltstack(&plain, NULL);
	ok_eq(repeat(tcs, TIMES), 0, "with an alternate stack");
	ok(same_stack(&plain), "which is there afterwards");
	sigfillset(&all);
	sigdelset(&all, SIGSEGV);	/* which some designs deliver */
	pthread_sigmask(SIG_SETMASK, &all, &before);
	ok_eq(repeat(tcs, TIMES), 0, "with all other signals blocked");
	pthread_sigmask(SIG_SETMASK, &before, NULL);

	pthread_create(&thread, NULL, others, enclave_tcs(&enclave, 1));
	for (int i = 0; i < 20; i++) {
		sigaction(SIGSTKFLT, &action, &former);
		ok_eq((uint64_t)former.sa_handler, (uint64_t)SIG_DFL, "SIGSTKFLT has no handler");
		raise(SIGSTKFLT);
		sigaction(SIGSTKFLT, &former, &action);
		ok_eq((uint64_t)action.sa_handler, (uint64_t)on_stkflt, "and then the program's");
		repeat(tcs, 5);
	}
	ok_eq(handled, 20, "SIGSTKFLT that was sent");
	stop = 1;
	pthread_join(thread, &bad);
	ok_eq((long)bad, 0, "each is the same beside threads that use SIGSTKFLT");

	disarmed.ss_flags = SS_AUTODISARM;
	sigaltstack(&disarmed, NULL);
	ok_eq(repeat(tcs, TIMES), 0, "with an alternate stack that is taken away by signals");
	ok(same_stack(&disarmed), "which is there afterwards");
	sigaltstack(&none, NULL);
	return done();
}
