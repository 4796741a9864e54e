/* Does one thing for ever, to be killed at it: the first argument says what.  Says `up` once it is at it. */
#include "enclave.h"

#include <pthread.h>
#include <spawn.h>
#include <sys/time.h>

extern char **environ;

static void up(void)
{
	printf("up\n");
	fflush(stdout);
}

static void call(struct enclave *enclave, int tcs, uint64_t op, uint64_t a, uint64_t b)
{
	struct request request = { .op = op, .a = a, .b = b };

	enclave_call(enclave_tcs(enclave, tcs), &request, NULL);
}

static void compute(void)
{
	struct enclave enclave;

	enclave_load(&enclave, NULL);
	up();
	for (;;)
		call(&enclave, 0, OP_CHECKSUM, 50000000, 1);
}

static void enter(void)
{
	struct enclave enclave;

	enclave_load(&enclave, NULL);
	up();
	for (;;)
		call(&enclave, 0, OP_NOP, 0, 0);
}

static void build(void)
{
	struct enclave_options options = { .heap_pages = 6000 };
	struct enclave enclave;

	for (int i = 0;; i++) {
		if (i == 0)
			up();
		enclave_load(&enclave, &options);
		enclave_unload(&enclave);
	}
}

/* To be run with an EPC of 1M or 2M: every access evicts and reloads. */
static void reclaim(void)
{
	struct enclave_options options = { .heap_pages = 700 };
	struct enclave enclave;

	fork(); /* two processes' enclaves compete for it */
	enclave_load(&enclave, &options);
	up();
	for (uint64_t i = 0;; i++)
		call(&enclave, 0, OP_WRITE, (uint64_t)enclave.base + enclave.heap + i * 7 % 700 * PAGE, i);
}

struct task {
	struct enclave *enclave;
	int tcs;
};

static void *spin(void *argument)
{
	struct task *task = argument;

	for (;;)
		call(task->enclave, task->tcs, OP_CHECKSUM, 300000, 1);
	return NULL;
}

static void on_alarm(int signo, siginfo_t *info, void *context)
{
	(void)signo, (void)info, (void)context;
}

static void threads(void)
{
	struct itimerval timer = { { 0, 1000 }, { 0, 1000 } };
	static struct task tasks[TEST_TCS_COUNT];
	static struct enclave enclave; /* outlives this function */
	pthread_t thread;

	enclave_load(&enclave, NULL);
	handle(SIGALRM, on_alarm);
	setitimer(ITIMER_REAL, &timer, NULL);
	for (int i = 0; i < TEST_TCS_COUNT; i++) {
		tasks[i] = (struct task){ &enclave, i };
		pthread_create(&thread, NULL, spin, &tasks[i]);
	}
	up();
	pthread_exit(NULL); /* the leader ends before the rest of its process */
}

static void *spawner(void *argument)
{
	char *arguments[] = { argument, NULL };
	pid_t child;

	for (;;)
		if (!posix_spawn(&child, argument, NULL, NULL, arguments, environ))
			waitpid(child, NULL, 0);
	return NULL;
}

static void *short_lived(void *argument)
{
	return argument;
}

static void storm(void)
{
	pthread_t thread;

	up();
	for (int i = 0; i < 3; i++)
		pthread_create(&thread, NULL, spawner, "/bin/true");
	for (;;) {
		pid_t child = fork();

		if (!child) {
			if (!fork())
				_exit(0);
			pthread_create(&thread, NULL, short_lived, NULL);
			execl("/bin/true", "true", NULL);
			_exit(1);
		}
		pthread_create(&thread, NULL, short_lived, NULL);
		pthread_join(thread, NULL);
		if (child > 0)
			waitpid(child, NULL, 0);
	}
}

static void *exec_again(void *argument)
{
	execv("/proc/self/exe", argument);
	return NULL;
}

/* The process becomes another again and again, from a thread of its own, while its other threads fork. */
static void execs(char **argv)
{
	pthread_t thread;

	up();
	for (int i = 0; i < 2; i++)
		pthread_create(&thread, NULL, spawner, "/bin/true");
	pthread_create(&thread, NULL, exec_again, argv);
	for (;;) {
		pid_t child = fork();

		if (!child)
			_exit(0);
		waitpid(child, NULL, 0);
	}
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	if (!strcmp(what, "compute"))
		compute();
	if (!strcmp(what, "enter"))
		enter();
	if (!strcmp(what, "build"))
		build();
	if (!strcmp(what, "reclaim"))
		reclaim();
	if (!strcmp(what, "threads"))
		threads();
	if (!strcmp(what, "storm"))
		storm();
	if (!strcmp(what, "execs"))
		execs(argv);
	return 1;
}
