/*
 * Threads that touch the same pages of an enclave, twice as many as the EPC has (run with --epc 2M), while others protect
 * these pages and make children, and a timer's signals come: every page keeps its contents.
 */
#include "enclave.h"

#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>

#define PAGES 1000
#define THREADS 3
#define TIMES 400

static struct enclave enclave;
static volatile int stop;
static volatile long signals;

static void tick(int signo)
{
	signals += signo == SIGALRM;
}

static uint64_t next(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005 + 1442695040888963407;
	return *seed >> 33;
}

/* One access, however often the page may not be accessed just then; whether it ended as it should. */
static bool touch(void *tcs, struct request *request)
{
	struct outcome got = attempt(tcs, request, EENTER);

	while (got.function == ERESUME && got.vector == 14 && got.address == (request->a & -PAGE))
		got = attempt(tcs, request, ERESUME);
	return got.function == EEXIT;
}

static void *work(void *argument)
{
	uint64_t index = (uint64_t)argument, seed = index, wrong = 0, *words = calloc(PAGES, sizeof *words);

	for (int i = 0; i < TIMES; i++) {
		uint64_t page = next(&seed) % PAGES;
		struct request request = { .op = OP_READ, .a = (uint64_t)enclave.base + enclave.heap + page * PAGE + index * 8 };

		wrong += !touch(enclave_tcs(&enclave, index), &request) || request.result != words[page];
		request.op = OP_WRITE, request.b = words[page] = next(&seed);
		wrong += !touch(enclave_tcs(&enclave, index), &request);
	}
	free(words);
	return (void *)wrong;
}

static void *protect(void *argument)
{
	uint64_t seed = 99, wrong = 0;

	(void)argument;
	while (!stop) {
		void *page = (void *)((uint64_t)enclave.base + enclave.heap + next(&seed) % (PAGES - 64) * PAGE);
		size_t size = (1 + next(&seed) % 64) * PAGE;

		wrong += mprotect(page, size, PROT_NONE) != 0;
		usleep(200);
		wrong += mprotect(page, size, PROT_READ | PROT_WRITE) != 0;
		usleep(500);
	}
	return (void *)wrong;
}

static void *fork_children(void *argument)
{
	uint64_t wrong = 0;

	(void)argument;
	while (!stop) {
		pid_t child = fork();
		int status;

		if (child == 0)
			_exit(0);
		wrong += child < 0 || waitpid(child, &status, 0) != child || status != 0;
		usleep(5000);
	}
	return (void *)wrong;
}

int main(void)
{
	struct enclave_options options = { .heap_pages = PAGES };
	struct sigaction action = { .sa_handler = tick, .sa_flags = SA_RESTART };
	struct itimerval timer = { { 0, 3000 }, { 0, 3000 } };
	pthread_t threads[THREADS], others[2];
	uint64_t wrong = 0;
	void *result;

	enclave_load(&enclave, &options);
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &timer, NULL);
	for (uint64_t i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, work, (void *)i);
	pthread_create(&others[0], NULL, protect, NULL);
	pthread_create(&others[1], NULL, fork_children, NULL);
	for (int i = 0; i < THREADS; i++) {
		pthread_join(threads[i], &result);
		wrong += (uint64_t)result;
	}
	stop = 1;
	ok_eq(wrong, 0, "contents");
	for (int i = 0; i < 2; i++) {
		pthread_join(others[i], &result);
		ok_eq((uint64_t)result, 0, i ? "children" : "protections");
	}
	memset(&timer, 0, sizeof timer);
	setitimer(ITIMER_REAL, &timer, NULL);
	ok(signals > 0, "signals came");
	return done();
}
