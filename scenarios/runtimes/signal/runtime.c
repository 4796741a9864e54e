/*
 * `signal`: the runtime puts a handler before whatever the program has for the signals of exceptions.  For an
 * exception at its ENCLU the handler goes on at enter_faulted; any other belongs to the program, as before.
 */
#include "core.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <ucontext.h>

static const int signals[] = { SIGSEGV, SIGILL, SIGBUS, SIGFPE };
enum { SIGNALS = sizeof(signals) / sizeof(signals[0]) };

static struct sigaction former[SIGNALS];

static void chain(const struct sigaction *action, int signo, siginfo_t *info, void *context)
{
	if (action->sa_flags & SA_SIGINFO)
		action->sa_sigaction(signo, info, context);
	else if (action->sa_handler == SIG_DFL || (action->sa_handler == SIG_IGN && info->si_code > 0)) {
		/* The instruction faults again when this returns, or, if somebody sent the signal, it is sent again. */
		signal(signo, SIG_DFL);
		if (info->si_code <= 0)
			raise(signo);
	} else if (action->sa_handler != SIG_IGN)
		action->sa_handler(signo);
}

static void on_signal(int signo, siginfo_t *info, void *context)
{
	greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
	bool entering = registers[REG_RAX] == EENTER || registers[REG_RAX] == ERESUME;

	if (registers[REG_RIP] == (greg_t)enter_enclu && entering && info->si_code > 0) {
		registers[REG_RDI] = registers[REG_TRAPNO];
		registers[REG_RSI] = registers[REG_ERR];
		registers[REG_RDX] = registers[REG_TRAPNO] == 14 ? registers[REG_CR2] : 0;
		registers[REG_RIP] = (greg_t)enter_faulted;
		return;
	}
	for (int i = 0; i < SIGNALS; i++)
		if (signals[i] == signo)
			chain(&former[i], signo, info, context);
}

static int start(void)
{
	struct sigaction action = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK };

	for (int i = 0; i < SIGNALS; i++)
		if (sigaction(signals[i], &action, &former[i]))
			return errno;
	return 0;
}

/* Whoever came later chains to this handler and may never be told that it is gone: then it must stay. */
static int stop(void)
{
	struct sigaction current;

	for (int i = 0; i < SIGNALS; i++) {
		sigaction(signals[i], NULL, &current);
		if (!(current.sa_flags & SA_SIGINFO) || current.sa_sigaction != on_signal)
			return EBUSY;
	}
	for (int i = 0; i < SIGNALS; i++)
		sigaction(signals[i], &former[i], NULL);
	return 0;
}

const struct design design = { start, stop, enter_enclave };
