/*
 * A process that has an enclave mapped finds nothing in itself of what the machine needs for that: no child, nobody who
 * has its descriptors, locks, directories or signals. `reaper`: with PR_SET_CHILD_SUBREAPER; `pid`: as the init of a PID
 * namespace, where that is allowed; `before`: having asked for a PID namespace for its children. `native`: without the
 * enclave.
 */
#include "enclave.h"

#include <dirent.h>
#include <sched.h>
#include <sys/prctl.h>

static struct enclave enclave;

static int threads(void)
{
	DIR *tasks = opendir("/proc/self/task");
	int count = -2;

	while (readdir(tasks))
		count++;
	closedir(tasks);
	return count;
}

static void *nothing(void *unused)
{
	return unused;
}

static int signals;

static void on_child(int signo, siginfo_t *info, void *context)
{
	(void)signo, (void)info, (void)context;
	signals++;
}

static void look(bool natively, bool first_of_namespace)
{
	struct flock lock = { .l_type = F_WRLCK }, seen = { .l_type = F_WRLCK };
	int pipes[2], file = memfd_create("file", MFD_ALLOW_SEALING), status;
	char directory[] = "/tmp/enclu-XXXXXX", byte;
	siginfo_t info;
	pthread_t thread;
	pid_t child;

	handle(SIGCHLD, on_child);
	mkdtemp(directory);
	chdir(directory);
	pipe(pipes);
	fcntl(file, F_SETLK, &lock);
	if (!natively) {
		enclave_load(&enclave, NULL);
		ask(enclave_tcs(&enclave, 0), OP_NOP, 0, 0, 0);
	}
	ok_eq(signals, 0, "no SIGCHLD");
	ok_eq(threads(), 1, "one thread");
	ok(waitpid(-1, &status, 0) == -1 && errno == ECHILD, "no child");
	ok(waitpid(-1, &status, __WALL) == -1 && errno == ECHILD, "no child of any kind");
	ok(waitpid(-1, &status, __WCLONE) == -1 && errno == ECHILD, "no cloned child");
	ok(waitid(P_ALL, 0, &info, WEXITED | __WALL) == -1 && errno == ECHILD, "none by waitid");
	close(pipes[1]);
	ok_eq(read(pipes[0], &byte, 1), 0, "a pipe ends when its last descriptor is closed");
	child = fork();
	if (!child) {
		fcntl(file, F_GETLK, &seen);
		_exit(seen.l_type != F_WRLCK || (first_of_namespace && getpid() != 1));
	}
	waitpid(child, &status, 0);
	ok_eq(status, 0, "a child finds the lock, and itself where it should be");
	pthread_create(&thread, NULL, nothing, NULL);
	pthread_join(thread, NULL);
	chdir("/");
	ok_eq(rmdir(directory), 0, "a directory");
	ok_eq(threads(), 1, "one thread in the end");
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "";
	int status;

	if (!strcmp(mode, "reaper"))
		prctl(PR_SET_CHILD_SUBREAPER, 1);
	if (!strcmp(mode, "pid") || !strcmp(mode, "before")) {
		if (unshare(CLONE_NEWPID)) {
			ok(errno == EPERM, "no PID namespaces for everybody here");
			return done();
		}
	}
	if (!strcmp(mode, "pid")) {
		if (!fork()) {
			look(false, false);
			_exit(done());
		}
		wait(&status);
		return WEXITSTATUS(status);
	}
	look(!strcmp(mode, "native"), !strcmp(mode, "before"));
	return done();
}
