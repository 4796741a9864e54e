/*
 * Signals that instructions raise, blocked and sent: pending, and seen by whoever looks for them, with what their
 * sender said; whatever the thread does in enclaves between. `native`: without enclaves.
 */
#include "enclave.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <time.h>

#define VALUE 4711
#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

static const int signals[] = { SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV };
#define SIGNALS (sizeof signals / sizeof *signals)

static struct enclave enclave;
static bool natively;
static pid_t tid;
static volatile struct { int count, signo, code, value; pid_t pid, tid; } seen;

static pid_t own_tid(void)
{
	return syscall(SYS_gettid);
}

static sigset_t only(int signo)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, signo);
	return set;
}

static void note(int signo, const siginfo_t *info)
{
	seen.count++;
	seen.signo = signo;
	seen.code = info->si_code;
	seen.value = info->si_value.sival_int;
	seen.pid = info->si_pid;
	seen.tid = own_tid();
}

static void on_signal(int signo, siginfo_t *info, void *context)
{
	(void)context;
	note(signo, info);
}

/* How they are sent. */

static void by_kill(int signo)
{
	kill(getpid(), signo);
}

static void by_tgkill(int signo)
{
	syscall(SYS_tgkill, getpid(), tid, signo);
}

static void by_sigqueue(int signo)
{
	sigqueue(getpid(), signo, (union sigval){ .sival_int = VALUE });
}

static void by_tgsigqueueinfo(int signo)
{
	siginfo_t info = { .si_signo = signo, .si_code = SI_QUEUE };

	info.si_pid = getpid();
	info.si_uid = getuid();
	info.si_value.sival_int = VALUE;
	syscall(SYS_rt_tgsigqueueinfo, getpid(), tid, signo, &info);
}

/* A timer is over when its signal is pending. */
static void by_timer(int signo, int notify)
{
	struct itimerspec soon = { .it_value.tv_nsec = 1 };
	struct sigevent event = { .sigev_notify = notify, .sigev_signo = signo, .sigev_value.sival_int = VALUE };
	sigset_t pending;
	timer_t timer;

	event.sigev_notify_thread_id = tid;
	timer_create(CLOCK_MONOTONIC, &event, &timer);
	timer_settime(timer, 0, &soon, NULL);
	do
		sigpending(&pending);
	while (!sigismember(&pending, signo) && !seen.count);
}

static void by_process_timer(int signo)
{
	by_timer(signo, SIGEV_SIGNAL);
}

static void by_thread_timer(int signo)
{
	by_timer(signo, SIGEV_THREAD_ID);
}

static const struct sender {
	const char *name;
	void (*send)(int signo);
	int code;
	bool value, to_process;
} senders[] = {
	{ "kill", by_kill, SI_USER, false, true },
	{ "tgkill", by_tgkill, SI_TKILL, false, false },
	{ "sigqueue", by_sigqueue, SI_QUEUE, true, true },
	{ "rt_tgsigqueueinfo", by_tgsigqueueinfo, SI_QUEUE, true, false },
	{ "timer to the process", by_process_timer, SI_TIMER, true, true },
	{ "timer to the thread", by_thread_timer, SI_TIMER, true, false },
};
#define SENDERS (sizeof senders / sizeof *senders)

/* Who looks for them. What each leaves in `seen` is judged. */

static void unblocked(int signo)
{
	sigset_t set = only(signo);

	sigprocmask(SIG_UNBLOCK, &set, NULL);
	sigprocmask(SIG_BLOCK, &set, NULL);
}

static void by_sigpending(int signo)
{
	sigset_t pending;

	sigpending(&pending);
	if (!sigismember(&pending, signo))
		return;
	unblocked(signo);
}

static void by_sigtimedwait(int signo)
{
	struct timespec long_time = { 20, 0 };
	sigset_t set = only(signo);
	siginfo_t info;

	/* The C library's function shows SI_TKILL as SI_USER. */
	if (syscall(SYS_rt_sigtimedwait, &set, &info, &long_time, 8ul) == signo)
		note(signo, &info);
}

static void by_signalfd(int signo)
{
	struct signalfd_siginfo read_info;
	sigset_t set = only(signo);
	siginfo_t info = { 0 };
	int fd = signalfd(-1, &set, SFD_NONBLOCK);
	struct pollfd polled = { fd, POLLIN, 0 };

	poll(&polled, 1, 20000);
	if (read(fd, &read_info, sizeof read_info) == sizeof read_info) {
		info.si_code = read_info.ssi_code;
		info.si_pid = read_info.ssi_pid;
		info.si_value.sival_int = read_info.ssi_int;
		note(read_info.ssi_signo, &info);
	}
	close(fd);
}

/* A call that waits with all but the signal blocked is interrupted by it. */
static void waiting(int signo, int call)
{
	struct timespec long_time = { 20, 0 };
	struct epoll_event event;
	int result, epoll = epoll_create1(0);
	sigset_t all_but;

	sigfillset(&all_but);
	sigdelset(&all_but, signo);
	errno = 0;
	switch (call) {
	case SYS_ppoll:
		result = ppoll(NULL, 0, &long_time, &all_but);
		break;
	case SYS_pselect6:
		result = pselect(0, NULL, NULL, NULL, &long_time, &all_but);
		break;
	case SYS_epoll_pwait:
		result = epoll_pwait(epoll, &event, 1, 20000, &all_but);
		break;
	case 441: /* epoll_pwait2 */
		result = syscall(441, epoll, &event, 1, &long_time, &all_but, 8ul);
		break;
	default:
		result = sigsuspend(&all_but);
	}
	close(epoll);
	if (result != -1 || errno != EINTR)
		seen.count = -1;
}

static void by_ppoll(int signo)
{
	waiting(signo, SYS_ppoll);
}

static void by_pselect(int signo)
{
	waiting(signo, SYS_pselect6);
}

static void by_epoll_pwait(int signo)
{
	waiting(signo, SYS_epoll_pwait);
}

static void by_epoll_pwait2(int signo)
{
	waiting(signo, 441);
}

static void by_sigsuspend(int signo)
{
	waiting(signo, SYS_rt_sigsuspend);
}

static void *unblocks(void *signo)
{
	unblocked((int)(long)signo);
	return NULL;
}

static void by_thread(int signo)
{
	pthread_t thread;

	pthread_create(&thread, NULL, unblocks, (void *)(long)signo);
	pthread_join(thread, NULL);
	if (seen.tid == tid)
		seen.count = -1;
}

static const struct observer {
	const char *name;
	void (*look)(int signo);
	bool of_process;
} observers[] = {
	{ "unblocking", unblocked, false },
	{ "sigpending", by_sigpending, false },
	{ "sigtimedwait", by_sigtimedwait, false },
	{ "signalfd", by_signalfd, false },
	{ "ppoll", by_ppoll, false },
	{ "pselect", by_pselect, false },
	{ "epoll_pwait", by_epoll_pwait, false },
	{ "epoll_pwait2", by_epoll_pwait2, false },
	{ "sigsuspend", by_sigsuspend, false },
	{ "another thread", by_thread, true },
};
#define OBSERVERS (sizeof observers / sizeof *observers)

/* Between: entries, pages that the enclave or the host touches for the first time, exceptions that a design hands over. */
static bool use_enclave(void)
{
	static uint64_t next;
	struct request add = { .op = OP_ADD, .a = 40, .b = 2 }, ud2 = { .op = OP_UD2 }, divide = { .op = OP_DIV0 };
	uint8_t *page = enclave.base + enclave.heap + next++ * PAGE;
	struct request touch = { .op = OP_WRITE, .a = (uint64_t)page, .b = 1 };
	void *tcs = enclave_tcs(&enclave, 0);
	bool right;

	if (natively)
		return true;
	right = attempt(tcs, &add, EENTER).function == EEXIT && add.result == 42;
	right &= attempt(tcs, &touch, EENTER).function == EEXIT;
	right &= *(volatile uint8_t *)page == 1;
	if (!strcmp(delivery(), "vdso") || strstr(delivery(), "-handler")) { /* else it is a signal: blocked, it kills */
		right &= attempt(tcs, &ud2, EENTER).vector == 6;
		drop_frame(tcs);
		right &= attempt(tcs, &divide, EENTER).vector == 0;
		drop_frame(tcs);
		right &= attempt(enclave.base + enclave.data, &add, EENTER).vector == 14;
	}
	return right;
}

static bool right_for(int signo, const struct sender *sender, const struct observer *observer)
{
	sigset_t pending;
	bool right;

	seen.count = 0;
	sender->send(signo);
	right = use_enclave() && seen.count == 0;
	sigpending(&pending);
	right &= sigismember(&pending, signo);
	observer->look(signo);
	right &= seen.count == 1 && seen.signo == signo && seen.code == sender->code;
	right &= sender->value ? seen.value == VALUE : seen.pid == getpid();
	if (!right)
		printf("# signal %d: seen %d times, signal %d, code %d, value %d\n", signo, seen.count, seen.signo, seen.code,
		       seen.value);
	sigpending(&pending);
	return right && !sigismember(&pending, signo) && use_enclave();
}

int main(int argc, char **argv)
{
	struct enclave_options options = { .heap_pages = 2 * SIGNALS * SENDERS * OBSERVERS };
	sigset_t blocked;

	natively = argc > 1 && !strcmp(argv[1], "native");
	if (!natively) {
		struct request request = { .op = OP_NOP };

		enclave_load(&enclave, &options);
		attempt(enclave_tcs(&enclave, 0), &request, EENTER); /* sets the handlers that it needs, if any */
	}
	tid = own_tid();
	sigemptyset(&blocked);
	for (size_t i = 0; i < SIGNALS; i++) {
		sigaddset(&blocked, signals[i]);
		handle(signals[i], on_signal);
	}
	sigprocmask(SIG_BLOCK, &blocked, NULL);
	for (size_t s = 0; s < SENDERS; s++)
		for (size_t o = 0; o < OBSERVERS; o++) {
			int right = 0;

			if (observers[o].of_process && !senders[s].to_process)
				continue;
			for (size_t i = 0; i < SIGNALS; i++)
				right += right_for(signals[i], &senders[s], &observers[o]);
			ok(right == SIGNALS, "%s, found by %s", senders[s].name, observers[o].name);
		}
	return done();
}
