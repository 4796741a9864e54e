/* What the scripted sessions with gdb debug: each argument is something to do, in order. */
#include "fault.h"

#include <sched.h>
#include <spawn.h>

#define ATTRIBUTES_DEBUG 2
#define PAGES 300

struct enclave enclave;
struct request request;
struct outcome outcome;
volatile int handled, watched, go_on;
extern char **environ;

/* Between two things to do, and when all is done. */
__attribute__((noinline)) void here(const char *what)
{
	__asm__ volatile("" : : "r"(what) : "memory");
}

__attribute__((noinline)) int twice(int number)
{
	return 2 * number;
}

static void count(int signo, siginfo_t *info, void *context)
{
	(void)signo, (void)info, (void)context;
	handled++;
}

static void raised(void)
{
	raise(SIGUSR1);
	printf("handled %d\n", handled);
}

static void load(uint64_t attributes)
{
	struct enclave_options options = { .heap_pages = 8, .attributes = attributes, .miscselect = 1 };

	enclave_load(&enclave, &options);
	here("loaded");
}

static void enter(uint64_t op, uint64_t a, uint64_t b)
{
	void *tcs = enclave_tcs(&enclave, 0);

	request = (struct request){ .op = op, .a = a, .b = b };
	outcome = attempt(tcs, &request, EENTER);
	if (outcome.function == ERESUME)
		drop_frame(tcs);
	printf("function %u vector %d result %llu\n", outcome.function, outcome.vector, (unsigned long long)request.result);
	here("entered");
}

/* What the enclave's own handler, entered at CSSA 1, is for: the UD2 is passed by, and what it interrupted ends. */
static void repair(void)
{
	void *tcs = enclave_tcs(&enclave, 0);
	struct request skip = { .op = OP_FIX_RIP, .a = 2 };

	request = (struct request){ .op = OP_UD2 };
	attempt(tcs, &request, EENTER);
	attempt(tcs, &skip, EENTER);
	outcome = attempt(tcs, &request, ERESUME);
	printf("repaired at CSSA %llu function %u\n", (unsigned long long)skip.cssa, outcome.function);
}

static void *worker(void *argument)
{
	watched = *(int *)argument;
	here("in a thread");
	while (!go_on)
		sched_yield();
	return NULL;
}

static void threads(void)
{
	pthread_t made[3];
	int numbers[3] = { 1, 2, 3 };

	for (int i = 0; i < 3; i++)
		pthread_create(&made[i], NULL, worker, &numbers[i]);
	go_on = 1;
	for (int i = 0; i < 3; i++)
		pthread_join(made[i], NULL);
}

static void wait_for(pid_t child)
{
	int status;

	waitpid(child, &status, 0);
	printf("child %d\n", WEXITSTATUS(status));
}

static void spawned(void)
{
	char *arguments[] = { "/bin/sh", "-c", "exit 4", NULL };
	pid_t child;

	posix_spawn(&child, arguments[0], NULL, NULL, arguments, environ);
	wait_for(child);
}

static void forked(void)
{
	pid_t child = fork();

	if (!child)
		_exit(twice(2) - 1);
	wait_for(child);
}

static int doubles(void *number)
{
	return twice(*(int *)number);
}

/* Shares memory, and is no thread. */
static void cloned(void)
{
	static char stack[65536];
	int number = 4;

	wait_for(clone(doubles, stack + sizeof(stack), CLONE_VM | SIGCHLD, &number));
}

/* More pages than a small EPC has, each written twice. */
static void fill(void)
{
	struct enclave_options options = { .heap_pages = PAGES, .attributes = ATTRIBUTES_DEBUG };
	uint64_t sum = 0;

	enclave_load(&enclave, &options);
	for (int i = 0; i < 2 * PAGES; i++) {
		uint64_t at = (uint64_t)enclave.base + enclave.heap + i % PAGES * PAGE;

		sum += ask(enclave_tcs(&enclave, 0), OP_READ, at, 0, 0);
		ask(enclave_tcs(&enclave, 0), OP_WRITE, at, i, 0);
	}
	printf("sum %llu\n", (unsigned long long)sum);
}

static void spin(void)
{
	struct spinner spinner;

	spinner_start(&spinner, enclave_tcs(&enclave, 1));
	here("spinning");
	spinner.stop = 1;
	outcome = spinner_join(&spinner);
	printf("function %u\n", outcome.function);
}

int main(int count_of_words, char **words)
{
	setvbuf(stdout, NULL, _IONBF, 0);
	for (int i = 1; i < count_of_words; i++) {
		const char *word = words[i];

		here(word);
		if (!strcmp(word, "load"))
			load(ATTRIBUTES_DEBUG);
		else if (!strcmp(word, "production"))
			load(0);
		else if (!strcmp(word, "unload"))
			enclave_unload(&enclave);
		else if (!strcmp(word, "add"))
			enter(OP_ADD, 20, 3);
		else if (!strcmp(word, "ud2"))
			enter(OP_UD2, 0, 0);
		else if (!strcmp(word, "repair"))
			repair();
		else if (!strcmp(word, "div0"))
			enter(OP_DIV0, 0, 0);
		else if (!strcmp(word, "bad-read"))
			enter(OP_READ, 0x1000, 0);
		else if (!strcmp(word, "int3"))
			enter(OP_INT3, 0, 0);
		else if (!strcmp(word, "write"))
			enter(OP_WRITE, (uint64_t)enclave.base + enclave.heap, 77);
		else if (!strcmp(word, "outside"))
			enter(OP_WRITE, (uint64_t)&watched, 5);
		else if (!strcmp(word, "bad-tcs"))
			printf("function %u\n", attempt(enclave.base + enclave.heap, &request, EENTER).function);
		else if (!strcmp(word, "spin"))
			spin();
		else if (!strcmp(word, "handle"))
			handle(SIGUSR1, count);
		else if (!strcmp(word, "signal"))
			raised();
		else if (!strcmp(word, "crash"))
			*(volatile int *)8 = 1;
		else if (!strcmp(word, "threads"))
			threads();
		else if (!strcmp(word, "fork"))
			forked();
		else if (!strcmp(word, "spawn"))
			spawned();
		else if (!strcmp(word, "clone"))
			cloned();
		else if (!strcmp(word, "fill"))
			fill();
		else if (!strcmp(word, "exec"))
			execl("/bin/sh", "sh", "-c", "exit 9", NULL);
		else if (!strcmp(word, "wait"))
			while (!go_on)
				usleep(1000);
		else if (!strcmp(word, "twice"))
			printf("twice %d\n", twice(21));
	}
	here("done");
	return 3;
}
