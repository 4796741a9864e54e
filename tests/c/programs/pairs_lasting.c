/* Enters and leaves an enclave for long, each thread under a timer of its own: PROGRAM COUNT THREADS TIMER_US.  Every
   result is right, and neither the program nor its supervisor has more memory, mappings or descriptors at the end than
   after the first tenth. */
#include "enclave.h"

#include <dirent.h>
#include <sys/syscall.h>
#include <time.h>

struct use {
	long rss, mappings, descriptors;	/* of memory, KiB */
};

static struct enclave enclave;
static long count, us;
static _Atomic long wrong, signals;
static pthread_barrier_t tenth;
static __thread volatile bool ticked;

static void tick(int signo)
{
	signals += signo == SIGALRM;
	ticked = true;
}

static long field(const char *pid, const char *format)
{
	char path[64], line[256];
	long value = -1;
	FILE *file;

	snprintf(path, sizeof path, "/proc/%s/status", pid);
	file = fopen(path, "r");
	while (file && value < 0 && fgets(line, sizeof line, file))
		sscanf(line, format, &value);
	fclose(file);
	return value;
}

static struct use use_of(const char *pid)
{
	struct use use = { .rss = field(pid, "VmRSS: %ld") };
	char path[64], line[512];
	FILE *maps;
	DIR *directory;

	snprintf(path, sizeof path, "/proc/%s/maps", pid);
	for (maps = fopen(path, "r"); fgets(line, sizeof line, maps); )
		use.mappings += strchr(line, '\n') != NULL;
	fclose(maps);
	snprintf(path, sizeof path, "/proc/%s/fd", pid);
	for (directory = opendir(path); readdir(directory); )
		use.descriptors++;
	closedir(directory);
	return use;
}

/* Set again by the thread itself: it always gets on, however long signals take. */
static void set(timer_t timer)
{
	struct itimerspec spec = { .it_value.tv_nsec = us * 1000 };

	ticked = false;
	timer_settime(timer, 0, &spec, NULL);
}

static void *work(void *argument)
{
	struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGALRM };
	uint64_t index = (uint64_t)argument;
	timer_t timer;

	event._sigev_un._tid = syscall(SYS_gettid);
	timer_create(CLOCK_MONOTONIC, &event, &timer);
	set(timer);
	for (long i = 0; i < count; i++) {
		struct request request = { .op = OP_ADD, .a = index << 32, .b = i };

		wrong += enclave_call(enclave_tcs(&enclave, index), &request, NULL) || request.result != request.a + i;
		if (ticked)
			set(timer);
		if (i == count / 10) {
			pthread_barrier_wait(&tenth); /* all have come so far */
			pthread_barrier_wait(&tenth); /* and it is written down what they use */
		}
	}
	timer_delete(timer);
	return NULL;
}

static void compare(const char *whose, struct use before, struct use now, long room)
{
	ok(now.rss <= before.rss + room, "%s has no more memory: %ld KiB, then %ld", whose, before.rss, now.rss);
	ok(now.mappings <= before.mappings + 2, "nor mappings: %ld, then %ld", before.mappings, now.mappings);
	ok(now.descriptors <= before.descriptors, "nor descriptors: %ld, then %ld", before.descriptors, now.descriptors);
}

int main(int argc, char **argv)
{
	long threads = argc > 2 ? atol(argv[2]) : 1;
	pthread_t others[TEST_TCS_COUNT];
	struct use mine, its;
	char supervisor[32];

	count = argc > 1 ? atol(argv[1]) : 1000;
	us = argc > 3 ? atol(argv[3]) : 0;
	snprintf(supervisor, sizeof supervisor, "%ld", field("self", "TracerPid: %ld"));
	enclave_load(&enclave, NULL);
	signal(SIGALRM, tick);
	pthread_barrier_init(&tenth, NULL, threads + 1);
	for (long i = 0; i < threads; i++)
		pthread_create(&others[i], NULL, work, (void *)i);
	pthread_barrier_wait(&tenth);
	mine = use_of("self");
	its = use_of(supervisor);
	pthread_barrier_wait(&tenth);
	for (long i = 0; i < threads; i++)
		pthread_join(others[i], NULL);
	ok_eq(wrong, 0, "results");
	ok(!us || signals > 0, "%ld signals came", signals);
	compare("the program", mine, use_of("self"), 512);
	compare("its supervisor", its, use_of(supervisor), 1024);
	return done();
}
