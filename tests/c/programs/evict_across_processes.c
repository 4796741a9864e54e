/*
 * Processes that evict each other's pages: whatever a thread is doing when it is halted for that, be it a system call,
 * a signal with data or a fault, nothing of it is lost.
 */
#include "enclave.h"

#include <pthread.h>
#include <time.h>

#define CHILDREN 3
#define HEAP 120 /* pages each, of an EPC that holds fewer than all */
#define ROUNDS 3

static volatile int finished, bad_calls, bad_signals, calls, signals;
static char *page;

static void on_timer(int signo, siginfo_t *info, void *context)
{
	(void)signo, (void)context;
	signals++;
	bad_signals += info->si_code != SI_TIMER || info->si_value.sival_int != 0x1234567;
}

static void on_segv(int signo, siginfo_t *info, void *context)
{
	(void)signo;
	bad_signals += (char *)info->si_addr != page + 8 || info->si_code != SEGV_ACCERR;
	bad_signals += ((ucontext_t *)context)->uc_mcontext.gregs[REG_ERR] != 7;
	bad_calls += mprotect(page, PAGE, PROT_READ | PROT_WRITE) != 0;
}

static void *call(void *unused)
{
	while (!finished) {
		int fd = open("/etc/passwd", O_RDONLY);

		bad_calls += fd < 0 || close(fd);
		bad_calls += access("/proc/nothing", F_OK) != -1 || errno != ENOENT;
		bad_calls += mprotect(page, PAGE, PROT_READ) != 0;
		page[8] = 1;
		calls++;
	}
	return unused;
}

static int child(void)
{
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN, .sigev_value.sival_int = 0x1234567 };
	struct itimerspec often = { { 0, 10000000 }, { 0, 10000000 } };
	struct enclave_options options = { .heap_pages = HEAP };
	struct enclave enclave;
	pthread_t thread;
	timer_t timer;
	int wrong = 0;

	page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	*page = 1;
	enclave_load(&enclave, &options);
	handle(SIGRTMIN, on_timer);
	handle(SIGSEGV, on_segv);
	timer_create(CLOCK_MONOTONIC, &event, &timer);
	pthread_create(&thread, NULL, call, NULL);
	timer_settime(timer, 0, &often, NULL);
	for (int round = 0; round < ROUNDS || !calls || !signals; round++) {
		for (uint64_t i = 0; i < HEAP; i++) {
			uint64_t at = (uint64_t)enclave.base + enclave.heap + i * PAGE;
			struct request read = { .op = OP_READ, .a = at }, write = { .op = OP_WRITE, .a = at, .b = i + round + 1 };

			wrong += enclave_call(enclave_tcs(&enclave, 0), &read, NULL) != 0;
			wrong += read.result != (round ? i + round : 0);
			wrong += enclave_call(enclave_tcs(&enclave, 0), &write, NULL) != 0;
		}
	}
	finished = 1;
	pthread_join(thread, NULL);
	timer_delete(timer);
	printf("# pid %d: %d calls, %d signals; wrong: %d pages, %d calls, %d signals\n", getpid(), calls, signals, wrong,
	       bad_calls, bad_signals);
	fflush(stdout);
	return wrong || bad_calls || bad_signals;
}

int main(void)
{
	int status;

	for (int i = 0; i < CHILDREN; i++)
		if (!fork())
			_exit(child());
	for (int i = 0; i < CHILDREN; i++) {
		wait(&status);
		ok_eq(status, 0, "a child finds nothing amiss");
	}
	return done();
}
