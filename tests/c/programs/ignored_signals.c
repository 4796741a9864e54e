/*
 * A thread waits in a call that gives EINTR after a signal, whatever the signal's action (signal(7)). Signals that are
 * ignored, by SIG_IGN or by default, are no such signals; those with a handler are, also right behind an ignored one,
 * and where the call's own mask lets them through.
 */
#include "enclave.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/msg.h>
#include <sys/socket.h>
#include <sys/syscall.h>

static _Atomic pid_t waiter;
static _Atomic int handled;

static void handler(int signo)
{
	(void)signo;
	handled++;
}

/* Limits of time: the calls are to come to them, or not to. */
static int limit_ms;

static long w_epoll_wait(void)
{
	struct epoll_event event;

	return epoll_wait(epoll_create1(0), &event, 1, limit_ms);
}

static long w_epoll_pwait(void)
{
	struct epoll_event event;
	sigset_t none;

	sigemptyset(&none);
	return epoll_pwait(epoll_create1(0), &event, 1, limit_ms, &none);
}

static long w_recv(void)
{
	struct timeval time = { limit_ms / 1000, limit_ms % 1000 * 1000 };
	int pair[2];
	char byte;

	socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
	setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time);
	return recv(pair[0], &byte, 1, 0);
}

static long w_sigtimedwait(void)
{
	struct timespec time = { limit_ms / 1000, limit_ms % 1000 * 1000000l };
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	return sigtimedwait(&set, NULL, &time);
}

static const struct call {
	const char *name;
	long (*wait)(void);
	int nr, error;
	bool masked; /* the thread has the handled signal blocked, the call has not */
} calls[] = {
	{ "epoll_wait", w_epoll_wait, SYS_epoll_wait, 0, false },
	{ "epoll_pwait", w_epoll_pwait, SYS_epoll_pwait, 0, true },
	{ "recv", w_recv, SYS_recvfrom, EAGAIN, false },
	{ "sigtimedwait", w_sigtimedwait, SYS_rt_sigtimedwait, EAGAIN, false },
};

static struct { long result; int error; bool masked; } end;

static void *waits(void *argument)
{
	const struct call *call = argument;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN);
	pthread_sigmask(call->masked ? SIG_BLOCK : SIG_UNBLOCK, &set, NULL);
	waiter = gettid();
	errno = 0;
	end.result = call->wait();
	end.error = errno;
	pthread_sigmask(SIG_BLOCK, NULL, &set);
	end.masked = sigismember(&set, SIGRTMIN);
	return NULL;
}

/* The thread sleeps in the call, or has ended, where it was to come to its limit anyway. */
static void until_it_waits(int nr)
{
	char path[64], text[64];

	while (!waiter)
		usleep(1000);
	snprintf(path, sizeof path, "/proc/self/task/%d/syscall", waiter);
	for (;;) {
		int fd = open(path, O_RDONLY);
		ssize_t size = read(fd, text, sizeof text - 1);

		if (fd < 0)
			return;
		close(fd);
		text[size > 0 ? size : 0] = 0;
		if (size > 0 && text[0] >= '0' && text[0] <= '9' && atoi(text) == nr)
			return;
		usleep(1000);
	}
}

static void try(const struct call *call, const int *signals, bool interrupts)
{
	pthread_t thread;
	bool right;

	waiter = 0;
	handled = 0;
	limit_ms = interrupts ? 60000 : 400;
	pthread_create(&thread, NULL, waits, (void *)call);
	until_it_waits(call->nr);
	for (; *signals; signals++)
		syscall(SYS_tgkill, getpid(), waiter, *signals);
	pthread_join(thread, NULL);
	if (interrupts)
		right = end.result == -1 && end.error == EINTR && handled == 1;
	else if (call->error)
		right = end.result == -1 && end.error == call->error && !handled;
	else
		right = end.result == 0 && !handled;
	if (!ok(right && end.masked == call->masked, "%s, %s", call->name, interrupts ? "interrupted" : "not interrupted"))
		printf("# %ld, %s, %d\n", end.result, strerror(end.error), handled);
}

int main(void)
{
	/* In the order of their numbers, which is that of their delivery. */
	const int by_default[] = { SIGWINCH, 0 }, chosen[] = { SIGUSR1, 0 }, several[] = { SIGUSR1, SIGCHLD, SIGWINCH, 0 };
	const int a_handler[] = { SIGRTMIN, 0 }, behind[] = { SIGUSR1, SIGRTMIN, 0 };
	sigset_t usr2;

	sigemptyset(&usr2);
	sigaddset(&usr2, SIGUSR2);
	sigprocmask(SIG_BLOCK, &usr2, NULL);
	signal(SIGUSR1, SIG_IGN);
	sigaction(SIGRTMIN, &(struct sigaction){ .sa_handler = handler, .sa_flags = SA_RESTART }, NULL);
	for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
		try(&calls[i], by_default, false);
		try(&calls[i], chosen, false);
		try(&calls[i], several, false);
		try(&calls[i], a_handler, true);
		for (int times = 0; times < 20; times++)
			try(&calls[i], behind, true);
	}
	return done();
}
