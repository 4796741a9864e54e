/* Signals of a program without enclaves: none is lost, none comes twice, each brings what its sender gave it. */
#include "enclave.h"

#include <sys/time.h>

#define SENT 3000

static volatile int received, alarms, wrong, order;
static volatile pid_t sender;

static void on_signal(int signo, siginfo_t *info, void *context)
{
	(void)signo, (void)context;
	wrong += info->si_pid != sender || info->si_code != SI_QUEUE;
	order += info->si_value.sival_int != received;
	received++;
}

static void on_alarm(int signo, siginfo_t *info, void *context)
{
	(void)signo, (void)info, (void)context;
	alarms++;
}

static void send_all(void)
{
	for (int i = 0; i < SENT; i++)
		while (sigqueue(getppid(), SIGRTMIN, (union sigval){ .sival_int = i }))
			usleep(100); /* the queue is full */
	_exit(0);
}

int main(void)
{
	struct sigaction action = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_RESTART };
	struct itimerval timer = { { 0, 500 }, { 0, 500 } }, none = { 0 };
	uint64_t x = 1, want = 1;
	int status, fds[2];
	sigset_t set;
	char byte = 0;

	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN);
	sigaction(SIGRTMIN, &action, NULL);
	handle(SIGALRM, on_alarm);
	sigprocmask(SIG_BLOCK, &set, NULL); /* until it is known who sends */
	sender = fork();
	if (!sender)
		send_all();
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	setitimer(ITIMER_REAL, &timer, NULL);
	while (received < SENT || alarms < 20)
		x = checksum_round(x), want = checksum_round(want);
	setitimer(ITIMER_REAL, &none, NULL);
	while (waitpid(sender, &status, 0) < 0 && errno == EINTR)
		;
	ok_eq(received, SENT, "all came");
	ok_eq(wrong, 0, "from whom they were");
	ok_eq(order, 0, "in order, with their values");
	ok_eq(x, want, "nothing else was disturbed");

	/* A read that is restarted after each handler. */
	ok_eq(pipe(fds), 0, "pipe");
	received = 0;
	sender = fork();
	if (!sender) {
		for (int i = 0; i < 50; i++) {
			sigqueue(getppid(), SIGRTMIN, (union sigval){ .sival_int = i });
			usleep(500);
		}
		_exit(write(fds[1], "x", 1) != 1);
	}
	ok_eq(read(fds[0], &byte, 1), 1, "read is restarted");
	waitpid(sender, &status, 0);
	ok_eq(received, 50, "though signals came");
	return done();
}
