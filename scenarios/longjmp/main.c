#include "pair.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>

enum { TIMES = 100 };

static struct pair pair;
static struct sgx_exception told;
static sigjmp_buf here;
static uint32_t started, stop;

static enum sgx_decision jump_from_decision(void *context, const struct sgx_exception *exception)
{
	(void)context;
	told = *exception;
	siglongjmp(here, 1);
}

static uint64_t jump_from_ocall(void *context, void *argument)
{
	(void)context, (void)argument;
	siglongjmp(here, 1);
}

static void jump_from_signal(int signo)
{
	(void)signo;
	siglongjmp(here, 1);
}

static const sgx_ocall ocalls[] = { jump_from_ocall };
static const struct sgx_host host = { ocalls, 1, jump_from_decision, NULL };

/* 0: it was left by siglongjmp; else what call() returns, ECANCELED if that is success. */
static int call_and_jump(struct step step)
{
	struct step steps[] = { step, { STEP_END, 0, 0, 0 } };
	struct pair *p = &pair;
	int error;

	if (sigsetjmp(here, 1))
		return 0;
	error = p->runtime->call(&p->enclave, sgx_tcs(&p->enclave, 0), BASIC_RUN, steps, &host, NULL, NULL);
	return error ? error : ECANCELED;
}

static void expect(int error, const char *what)
{
	refused_if(error == ECANCELED ? 0 : error, "%s %d times", what, TIMES);
	ok(!error, "%s %d times", what, TIMES);
	ok_eq(pair.runtime->reset(&pair.enclave, sgx_tcs(&pair.enclave, 0)), 0, "then the enclave gives up");
	ok(pair_fault(&pair, 0), "and its exceptions are told as always");
}

static void *interrupt(void *thread)
{
	for (int i = 0; i < TIMES; i++) {
		while (!__atomic_exchange_n(&started, 0, __ATOMIC_ACQUIRE))
			sched_yield();
		pthread_kill(*(pthread_t *)thread, SIGUSR1);
	}
	return NULL;
}

static void expect_decisions(void)
{
	int error = 0;

	for (int i = 0; !error && i < TIMES; i++) {
		told.vector = 0;
		error = call_and_jump((struct step){ STEP_UD, 0, 0, 0 });
		if (!error)
			error = told.vector == 6 ? pair.runtime->reset(&pair.enclave, sgx_tcs(&pair.enclave, 0)) : ECANCELED;
	}
	expect(error, "leaving the decision about an exception");
}

static void expect_ocalls(void)
{
	int error = 0;

	for (int i = 0; !error && i < TIMES; i++)
		error = call_and_jump((struct step){ STEP_OCALL, 0, 0, 0 });
	expect(error, "leaving an OCALL");
}

static void expect_signals(void)
{
	struct sigaction action = { .sa_handler = jump_from_signal };
	pthread_t thread, self = pthread_self();
	int error = 0;

	sigaction(SIGUSR1, &action, NULL);
	pthread_create(&thread, NULL, interrupt, &self);
	for (int i = 0; !error && i < TIMES; i++) {
		error = call_and_jump((struct step){ STEP_SPIN, (uint64_t)&stop, (uint64_t)&started, 0 });
		if (!error)
			error = pair.runtime->reset(&pair.enclave, sgx_tcs(&pair.enclave, 0));
	}
	expect(error, "leaving a signal handler that interrupted the enclave");
	pthread_join(thread, NULL);
}

int main(void)
{
	pair = (struct pair){ .name = "only", .runtime = open_runtime("a") };
	must_start(pair.runtime);
	must_load(pair.runtime, &pair.enclave, "longjmp/basic.elf");
	expect_decisions();
	expect_ocalls();
	expect_signals();
	finish();
}
