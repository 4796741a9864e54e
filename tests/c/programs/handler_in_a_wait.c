/*
 * A handler that interrupts a call with a mask of its own, in which everything else is blocked, uses an enclave.
 * Afterwards handlers and mask are the program's.
 */
#include "enclave.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/syscall.h>

static struct enclave enclave;
static volatile uint64_t result;
static volatile int hits, faults, blocked_inside;

static void on_usr1(int signo, siginfo_t *info, void *context)
{
	struct request request = { .op = OP_ADD, .a = 40, .b = 2 };
	struct raw_fault fault;
	sigset_t now;

	(void)signo, (void)info, (void)context;
	hits++;
	sigprocmask(SIG_BLOCK, NULL, &now);
	blocked_inside = sigismember(&now, SIGSEGV) && sigismember(&now, SIGILL);
	raw_enter_count(EENTER, enclave_tcs(&enclave, 0), &request, &fault);
	result = request.result;
	sigprocmask(SIG_BLOCK, NULL, &now);
	blocked_inside &= sigismember(&now, SIGSEGV) && sigismember(&now, SIGILL);
}

static void on_fault(int signo, siginfo_t *info, void *context)
{
	(void)signo, (void)info;
	faults++;
	((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP] += 2;
}

static int waits(int call, const sigset_t *mask)
{
	struct timespec time = { 20, 0 };
	struct { const sigset_t *set; size_t size; } with_size = { mask, 8 };
	struct epoll_event event;
	unsigned long context = 0;
	int epoll = epoll_create1(0), ended;
	char events[32];

	switch (call) {
	case 0:
		ended = ppoll(NULL, 0, &time, mask);
		break;
	case 1:
		ended = pselect(0, NULL, NULL, NULL, &time, mask);
		break;
	case 2:
		ended = epoll_pwait(epoll, &event, 1, 20000, mask);
		break;
	case 3:
		ended = syscall(441, epoll, &event, 1, &time, mask, 8ul);
		break;
	case 4:
		syscall(SYS_io_setup, 1, &context);
		ended = syscall(333, context, 1, 1, events, &time, &with_size);
		break;
	default:
		ended = sigsuspend(mask);
	}
	close(epoll);
	return ended == -1 && errno == EINTR;
}

int main(void)
{
	static const char *const names[] = { "ppoll", "pselect6", "epoll_pwait", "epoll_pwait2", "io_pgetevents", "rt_sigsuspend" };
	sigset_t all_but, before, now;
	struct sigaction action;

	enclave_load(&enclave, NULL);
	handle(SIGUSR1, on_usr1);
	handle(SIGILL, on_fault);
	handle(SIGSEGV, on_fault);
	sigfillset(&all_but);
	sigdelset(&all_but, SIGUSR1);
	sigemptyset(&before);
	sigaddset(&before, SIGUSR1);
	sigaddset(&before, SIGTRAP);
	sigprocmask(SIG_BLOCK, &before, NULL);
	for (int call = 0; call < 6; call++) {
		hits = faults = result = 0;
		kill(getpid(), SIGUSR1);
		ok(waits(call, &all_but) && hits == 1, "%s is interrupted", names[call]);
		ok(result == 42 && blocked_inside, "the handler enters, with the mask of the call");
		sigprocmask(SIG_BLOCK, NULL, &now);
		ok(sigismember(&now, SIGTRAP) && sigismember(&now, SIGUSR1) && !sigismember(&now, SIGSEGV), "then the old mask");
		sigaction(SIGILL, NULL, &action);
		ok(action.sa_sigaction == on_fault, "the action of SIGILL is the program's");
		__asm__ volatile("ud2");
		__asm__ volatile("movb (%%rdx), %%al" : : "d"(8l) : "eax");
		ok_eq(faults, 2, "and in force");
	}
	return done();
}
