/* Whoever polls a pidfd finds at once what it tells of: the child can be waited for, however it has ended. */
#include "enclave.h"

#include <poll.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#ifndef P_PIDFD
#define P_PIDFD 3
#endif
#define THREADS 3
#define CODE 7
#define LOOKS 1000

static char **environment;
static pthread_t first;
static pthread_barrier_t barrier;
static int ready[2]; /* the child writes when it has come as far as it should before it is killed */

/* Children: what each does after fork(). */

static void *idle(void *unused)
{
	(void)unused;
	for (;;)
		pause();
	return NULL;
}

static void *ends(void *unused)
{
	(void)unused;
	_exit(CODE);
}

static void *ends_together(void *unused)
{
	pthread_barrier_wait(&barrier);
	return ends(unused);
}

static void *ends_later(void *unused)
{
	pthread_join(first, NULL);
	return ends(unused);
}

static void *executes(void *unused)
{
	char *arguments[] = { "pidfd_wait", "end", NULL };

	(void)unused;
	execve("/proc/thread-self/exe", arguments, environment);
	_exit(99);
}

static void *executes_together(void *unused)
{
	pthread_barrier_wait(&barrier);
	return executes(unused);
}

static void *executes_later(void *unused)
{
	pthread_join(first, NULL);
	return executes(unused);
}

static void start(void *(*what)(void *), int count)
{
	pthread_t thread;

	for (int i = 0; i < count; i++)
		if (pthread_create(&thread, NULL, what, NULL))
			_exit(98);
}

static void tell(void)
{
	if (write(ready[1], "!", 1) != 1)
		_exit(97);
}

static void plain(void) { ends(NULL); }
static void thread_ends(void) { start(idle, THREADS); start(ends, 1); idle(NULL); }
static void first_ends(void) { start(idle, THREADS); ends(NULL); }
static void all_end(void) { start(ends_together, THREADS); ends_together(NULL); }
static void others_end(void) { start(ends_later, THREADS); pthread_exit(NULL); }
static void thread_executes(void) { start(idle, THREADS); start(executes, 1); idle(NULL); }
static void first_executes(void) { start(idle, THREADS); executes(NULL); }
static void all_execute(void) { start(executes_together, THREADS); executes_together(NULL); }
static void others_execute(void) { start(executes_later, 1); pthread_exit(NULL); }
static void sleeps(void) { tell(); idle(NULL); }
static void sleep_all(void) { start(idle, THREADS); tell(); idle(NULL); }
static void others_sleep(void) { start(idle, THREADS); tell(); pthread_exit(NULL); }
static void stops(void) { start(idle, THREADS); tell(); raise(SIGSTOP); idle(NULL); }
static void aborts(void) { start(idle, THREADS); abort(); }

static void executes_while_first_ends(void)
{
	start(executes_together, THREADS);
	pthread_barrier_wait(&barrier);
	pthread_exit(NULL);
}

static void enters(void)
{
	struct request request = { .op = OP_ADD, .a = 1, .b = 2 };
	struct enclave enclave;

	enclave_load(&enclave, NULL);
	tell();
	for (;;)
		enclave_call(enclave_tcs(&enclave, 0), &request, NULL);
}

static void runs_inside(void)
{
	struct spinner spinners[2];
	struct enclave enclave;

	enclave_load(&enclave, NULL);
	for (int i = 0; i < 2; i++)
		spinner_start(&spinners[i], enclave_tcs(&enclave, i));
	tell();
	idle(NULL);
}

static void while_another_is_inside(void *(*what)(void *))
{
	struct spinner spinner;
	struct enclave enclave;

	enclave_load(&enclave, NULL);
	spinner_start(&spinner, enclave_tcs(&enclave, 0));
	start(what, 1);
	idle(NULL);
}

static void ends_while_another_is_inside(void) { while_another_is_inside(ends); }
static void executes_while_another_is_inside(void) { while_another_is_inside(executes); }

static const struct kind {
	const char *name;
	void (*child)(void);
	int signo; /* 0: exits with CODE; otherwise dies of it */
	bool kill; /* by the parent */
} kinds[] = {
	{ "that exits", plain, 0, false },
	{ "that is killed", sleeps, SIGKILL, true },
	{ "that is ended by a signal", sleeps, SIGTERM, true },
	{ "that is ended by a thread", thread_ends, 0, false },
	{ "that is ended by the first of its threads", first_ends, 0, false },
	{ "that is ended by all its threads at once", all_end, 0, false },
	{ "that goes on when its first thread has ended", others_end, 0, false },
	{ "that is killed with its threads", sleep_all, SIGKILL, true },
	{ "that is killed when its first thread has ended", others_sleep, SIGKILL, true },
	{ "that is killed while stopped", stops, SIGKILL, true },
	{ "that aborts", aborts, SIGABRT, false },
	{ "that calls exec in a thread", thread_executes, 0, false },
	{ "that calls exec in the first of its threads", first_executes, 0, false },
	{ "that calls exec in all its threads at once", all_execute, 0, false },
	{ "that calls exec while its first thread ends", executes_while_first_ends, 0, false },
	{ "that calls exec when its first thread has ended", others_execute, 0, false },
	{ "that is killed while entering an enclave", enters, SIGKILL, true },
	{ "that is killed in an enclave", runs_inside, SIGKILL, true },
	{ "that is ended while a thread is in an enclave", ends_while_another_is_inside, 0, false },
	{ "that calls exec while a thread is in an enclave", executes_while_another_is_inside, 0, false },
};

static pid_t begin(const struct kind *kind)
{
	struct rlimit none = { 0, 0 };
	pid_t pid = fork();

	if (pid)
		return pid;
	setrlimit(RLIMIT_CORE, &none);
	pthread_barrier_init(&barrier, NULL, THREADS + 1);
	first = pthread_self();
	kind->child();
	_exit(96);
}

static int pidfd_of(pid_t pid)
{
	int fd = syscall(SYS_pidfd_open, pid, 0);

	if (fd < 0) {
		perror("pidfd_open");
		exit(1);
	}
	return fd;
}

/* Many times over, so that somebody looks at any moment at which it is readable too early. */
static void wait_until_readable(int pidfd)
{
	static struct pollfd pollers[LOOKS];

	for (int i = 0; i < LOOKS; i++)
		pollers[i] = (struct pollfd){ pidfd, POLLIN, 0 };
	if (poll(pollers, LOOKS, -1) < 1)
		exit(1);
}

static bool is(const char *what, long got, long wanted)
{
	if (got != wanted)
		printf("# %s: %#lx in place of %#lx\n", what, got, wanted);
	return got == wanted;
}

/* By waitpid(), or by waitid() on the pidfd, first without taking it away. */
static bool found(const struct kind *kind, pid_t pid, int pidfd, bool by_pidfd)
{
	int status, options = WEXITED | WNOHANG;
	siginfo_t look = { 0 }, take = { 0 };

	if (!by_pidfd)
		return is("waitpid()", waitpid(pid, &status, WNOHANG), pid) &&
		       is("status", status & ~WCOREFLAG, kind->signo ? kind->signo : CODE << 8);
	return is("waitid() with WNOWAIT", waitid(P_PIDFD, pidfd, &look, options | WNOWAIT), 0) &&
	       is("waitid()", waitid(P_PIDFD, pidfd, &take, options), 0) && is("si_pid", look.si_pid, pid) &&
	       is("si_pid", take.si_pid, pid) && is("si_code", look.si_code, take.si_code) &&
	       is("si_code", take.si_code, kind->signo ? CLD_KILLED : CLD_EXITED) &&
	       is("si_status", take.si_status, kind->signo ? kind->signo : CODE);
}

static void tell_result(const char *name, int wrong, int rounds)
{
	if (!ok(!wrong, "a child %s", name))
		printf("# %d of %d wrong\n", wrong, rounds);
}

static void try(const struct kind *kind, int rounds)
{
	int wrong = 0;

	for (int i = 0; i < rounds; i++) {
		pid_t pid = begin(kind);
		int pidfd = pidfd_of(pid), stopped;
		char byte;

		if (kind->kill) {
			if (read(ready[0], &byte, 1) != 1)
				exit(1);
			if (kind->child == stops)
				waitpid(pid, &stopped, WUNTRACED);
			kill(pid, kind->signo);
		}
		wait_until_readable(pidfd);
		if (!found(kind, pid, pidfd, i % 2)) {
			wrong++;
			waitpid(pid, NULL, 0);
		}
		close(pidfd);
	}
	tell_result(kind->name, wrong, rounds);
}

/* Children of a parent that does not care are gone when their pidfd tells of them. */
static void try_unwanted(const char *name, void (*handler)(int), int flags, int rounds)
{
	struct sigaction action = { .sa_handler = handler, .sa_flags = flags };
	int wrong = 0;

	sigaction(SIGCHLD, &action, NULL);
	for (int i = 0; i < rounds; i++) {
		pid_t pid = fork();
		int pidfd;

		if (!pid)
			idle(NULL);
		pidfd = pidfd_of(pid);
		kill(pid, SIGKILL);
		wait_until_readable(pidfd);
		wrong += waitpid(pid, NULL, WNOHANG) != -1 || errno != ECHILD;
		close(pidfd);
	}
	tell_result(name, wrong, rounds);
}

static void try_spawned(const char *name, int rounds)
{
	char *arguments[] = { "pidfd_wait", "end", NULL };
	const struct kind kind = { .signo = 0 };
	int wrong = 0;

	for (int i = 0; i < rounds; i++) {
		pid_t pid;
		int pidfd;

		if (posix_spawn(&pid, "/proc/self/exe", NULL, NULL, arguments, environment))
			exit(1);
		pidfd = pidfd_of(pid);
		wait_until_readable(pidfd);
		if (!found(&kind, pid, pidfd, i % 2)) {
			wrong++;
			waitpid(pid, NULL, 0);
		}
		close(pidfd);
	}
	tell_result(name, wrong, rounds);
}

/* Arguments: how often, and which child. */
int main(int argc, char **argv, char **envp)
{
	int rounds = argc == 3 ? atoi(argv[1]) : 0;

	environment = envp;
	if (argc == 2)
		_exit(CODE);
	if (!rounds || pipe2(ready, O_CLOEXEC))
		return 1;
	for (unsigned int i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
		if (!strcmp(kinds[i].name, argv[2]))
			try(&kinds[i], rounds);
	if (!strcmp(argv[2], "that is spawned"))
		try_spawned(argv[2], rounds);
	if (!strcmp(argv[2], "of a parent that ignores SIGCHLD"))
		try_unwanted(argv[2], SIG_IGN, 0, rounds);
	if (!strcmp(argv[2], "of a parent that has set SA_NOCLDWAIT"))
		try_unwanted(argv[2], SIG_DFL, SA_NOCLDWAIT, rounds);
	return done();
}
