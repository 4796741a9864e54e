/* A signal sent to a process whose threads call exec again and again ends it: it is not lost with a thread. */
#include "enclave.h"

#include <pthread.h>
#include <time.h>

static void *idle(void *argument)
{
	for (;;)
		getppid();
	return argument;
}

static void *exec_again(void *argument)
{
	char *arguments[] = { "again", "again", NULL };

	execv("/proc/self/exe", arguments);
	return argument;
}

static void execs(void)
{
	pthread_t thread;

	for (int i = 0; i < 4; i++)
		pthread_create(&thread, NULL, idle, NULL);
	pthread_create(&thread, NULL, exec_again, NULL);
	idle(NULL);
}

int main(int argc, char **argv)
{
	int status, lost = 0;

	(void)argv;
	if (argc > 1)
		execs();
	for (int i = 0; i < 40; i++) {
		pid_t child = fork();

		if (!child)
			execl("/proc/self/exe", "again", "again", NULL);
		usleep(30000 + i * 777);
		kill(child, SIGTERM);
		for (int patience = 1000; waitpid(child, &status, WNOHANG) == 0; patience--) {
			if (patience == 0) {
				lost++;
				kill(child, SIGKILL);
			}
			usleep(5000);
		}
		if (!WIFSIGNALED(status))
			lost++;
	}
	ok_eq(lost, 0, "every signal arrives");
	return done();
}
