/* A process that becomes another again and again, from a thread of its own, while others fork: SIGTERM ends it. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void *forks(void *unused)
{
	for (;;) {
		pid_t child = fork();

		if (!child)
			_exit(0);
		waitpid(child, NULL, 0);
	}
	return unused;
}

static void *becomes_another(void *argv)
{
	execv("/proc/self/exe", argv);
	perror("execv");
	exit(1);
}

static void execs(char **argv)
{
	pthread_t thread;

	pthread_create(&thread, NULL, forks, NULL);
	pthread_create(&thread, NULL, becomes_another, argv);
	forks(NULL);
}

static int ends(pid_t child)
{
	const struct timespec patience = { 60, 0 };
	sigset_t ended;
	int status;

	sigemptyset(&ended);
	sigaddset(&ended, SIGCHLD);
	while (waitpid(child, &status, WNOHANG) == 0)
		if (sigtimedwait(&ended, NULL, &patience) < 0)
			return 0;
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM;
}

int main(int argc, char **argv)
{
	int rounds = argc > 1 ? atoi(argv[1]) : 0;
	sigset_t ended;

	if (!rounds)
		execs(argv);
	sigemptyset(&ended);
	sigaddset(&ended, SIGCHLD);
	for (int i = 0; i < rounds; i++) {
		pid_t child;

		sigprocmask(SIG_UNBLOCK, &ended, NULL);
		child = fork();
		if (!child)
			execl("/proc/self/exe", argv[0], "0", NULL);
		sigprocmask(SIG_BLOCK, &ended, NULL);
		usleep(10000 + rand() % 20000);
		kill(child, SIGTERM);
		if (!ends(child)) {
			printf("round %d: the signal was lost\n", i);
			kill(child, SIGKILL);
			return 1;
		}
	}
	printf("%d ended\n", rounds);
	return 0;
}
