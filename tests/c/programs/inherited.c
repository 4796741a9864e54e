/* Writes to the file named first what it has inherited from whoever started it, one thing a line. */
#include "enclave.h"

#include <dirent.h>
#include <sched.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>

extern char **environ;

static void copy(FILE *out, const char *path, const char *const *starts)
{
	FILE *file = fopen(path, "r");
	char line[256];

	while (file && fgets(line, sizeof(line), file))
		for (int i = 0; !starts || starts[i]; i++)
			if (!starts || !strncmp(line, starts[i], strlen(starts[i]))) {
				fprintf(out, "%s", line);
				break;
			}
	if (file)
		fclose(file);
}

static void descriptors(FILE *out)
{
	char name[64], target[256];
	struct stat status;
	ssize_t length;

	for (int fd = 0; fd < 1000; fd++) {
		if (fd == fileno(out) || fcntl(fd, F_GETFD) < 0)
			continue;
		snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
		length = readlink(name, target, sizeof(target) - 1);
		target[length > 0 ? length : 0] = 0;
		fstat(fd, &status);
		fprintf(out, "fd %d is %s, type %o, flags %x\n", fd, strchr(target, '[') ? "pipe" : target,
			status.st_mode & S_IFMT, fcntl(fd, F_GETFL));
	}
}

int main(int argc, char **argv)
{
	static const char *const fields[] = { "SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt", "Cpus_allowed_list",
					      "Threads", "TTY", "Groups", "CapEff", NULL };
	FILE *out = fopen(argv[1], "w");
	struct itimerval timer;
	struct rlimit limit;
	char cwd[4096];

	for (int i = 0; i < argc; i++)
		fprintf(out, "argv[%d] = %s\n", i, argv[i]);
	for (char **entry = environ; *entry; entry++)
		fprintf(out, "environment %s\n", *entry);
	copy(out, "/proc/self/status", fields);
	copy(out, "/proc/self/oom_score_adj", NULL);
	for (int i = 0; i < RLIM_NLIMITS; i++)
		if (!getrlimit(i, &limit))
			fprintf(out, "limit %d: %llu %llu\n", i, (unsigned long long)limit.rlim_cur,
				(unsigned long long)limit.rlim_max);
	descriptors(out);
	getitimer(ITIMER_REAL, &timer);
	fprintf(out, "alarm %s\n", timer.it_value.tv_sec ? "set" : "not set");
	fprintf(out, "umask %o, nice %d, personality %x, slack %d\n", umask(0), getpriority(PRIO_PROCESS, 0),
		personality(0xffffffff), prctl(PR_GET_TIMERSLACK));
	fprintf(out, "cwd %s\n", getcwd(cwd, sizeof(cwd)) ? cwd : "gone");
	fprintf(out, "parent %d, group %s, session %s\n", getppid(), getpgrp() == getpid() ? "own" : "parent's",
		getsid(0) == getpid() ? "own" : "parent's");
	fprintf(out, "death signal %d, children %d\n", (prctl(PR_GET_PDEATHSIG, &argc), argc), waitpid(-1, NULL, WNOHANG));
	fclose(out);
	return 0;
}
