/*
 * Threads that have every signal blocked use enclaves, while others handle the signals of their own instructions, and
 * signals that are sent: each arrives at its handler, with its own registers, and kills nobody.
 */
#include "enclave.h"

#include <sys/syscall.h>

#define ROUNDS 400

static struct enclave enclave;
static volatile bool stop;
static volatile int entries, wrong, sent;
static __thread volatile int expected, got;
static __thread volatile uint64_t expected_address;

static void on_signal(int signo, siginfo_t *info, void *context)
{
	ucontext_t *frame = context;
	greg_t *registers = frame->uc_mcontext.gregs;
	sigset_t now;

	if (info->si_code <= 0) {
		__atomic_add_fetch(&sent, 1, __ATOMIC_SEQ_CST);
		if (info->si_signo != signo || info->si_value.sival_int != signo)
			wrong++;
		return;
	}
	got++;
	pthread_sigmask(SIG_BLOCK, NULL, &now);
	if (signo != expected || info->si_signo != signo || !sigismember(&now, signo) || !sigismember(&now, SIGUSR1) ||
	    sigismember(&frame->uc_sigmask, signo) || sigismember(&frame->uc_sigmask, SIGUSR1))
		wrong++;
	if (signo == SIGSEGV && (registers[REG_TRAPNO] != 14 || registers[REG_CR2] != (greg_t)expected_address ||
				 registers[REG_ERR] != 6 || (uint64_t)info->si_addr != expected_address))
		wrong++;
	if (signo == SIGILL && registers[REG_TRAPNO] != 6)
		wrong++;
	registers[REG_RIP] += 2;
}

static void *enters(void *argument)
{
	void *tcs = enclave_tcs(&enclave, (uint64_t)argument);
	struct raw_fault fault;
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, NULL);
	while (!stop) {
		struct request request = { .op = OP_ADD, .a = entries, .b = 1 };

		if (raw_enter_count(EENTER, tcs, &request, &fault) != RAW_EXITED || request.result != request.a + 1)
			wrong++;
		__atomic_add_fetch(&entries, 1, __ATOMIC_SEQ_CST);
	}
	pthread_sigmask(SIG_BLOCK, NULL, &all);
	if (!sigismember(&all, SIGSEGV) || !sigismember(&all, SIGILL))
		wrong++;
	return NULL;
}

static void *faults(void *unused)
{
	for (int i = 0; i < ROUNDS; i++) {
		got = 0;
		if (i % 2) {
			expected = SIGILL;
			__asm__ volatile("ud2");
		} else {
			expected = SIGSEGV;
			expected_address = 4096 + 8 * i;
			__asm__ volatile("movb %%al, (%%rdx)" : : "a"(0), "d"(expected_address) : "memory");
		}
		if (got != 1)
			wrong++;
	}
	return unused;
}

int main(void)
{
	struct sigaction action = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_RESTART };
	pthread_t entering[2], faulting[2];
	sigset_t set;

	enclave_load(&enclave, NULL);
	sigaddset(&action.sa_mask, SIGUSR1);
	sigaction(SIGILL, &action, NULL);
	sigaction(SIGSEGV, &action, NULL);
	for (uint64_t i = 0; i < 2; i++)
		pthread_create(&entering[i], NULL, enters, (void *)i);
	while (entries < 10)
		usleep(100);
	for (int i = 0; i < 2; i++)
		pthread_create(&faulting[i], NULL, faults, NULL);
	for (int i = 0; i < ROUNDS; i++) {
		int signo = i % 2 ? SIGILL : SIGSEGV, before = sent;

		sigqueue(getpid(), signo, (union sigval){ .sival_int = signo });
		while (sent == before)
			usleep(50);
	}
	for (int i = 0; i < 2; i++)
		pthread_join(faulting[i], NULL);
	stop = true;
	for (int i = 0; i < 2; i++)
		pthread_join(entering[i], NULL);
	ok_eq(wrong, 0, "every signal came to its handler as it was");
	ok_eq(sent, ROUNDS, "also those that were sent");
	pthread_sigmask(SIG_BLOCK, NULL, &set);
	ok(!sigismember(&set, SIGSEGV) && !sigismember(&set, SIGILL) && !sigismember(&set, SIGUSR1), "the mask is as before");
	sigaction(SIGILL, NULL, &action);
	ok(action.sa_sigaction == on_signal && (action.sa_flags & ~0x04000000) == (SA_SIGINFO | SA_RESTART) &&
	   sigismember(&action.sa_mask, SIGUSR1), "the action, too");
	return done();
}
