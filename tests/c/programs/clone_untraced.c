/* Children that their parent wants untraced (CLONE_UNTRACED) have the machine's devices all the same. */
#include "enclave.h"

#include <linux/sched.h>
#include <sched.h>
#include <sys/syscall.h>

#ifndef CLONE_CLEAR_SIGHAND
#define CLONE_CLEAR_SIGHAND 0x100000000ull
#endif
#define ROUNDS 200
#define THREADS 100

static bool native; /* nobody traces: what the kernel says of wrong arguments, and does to registers */
static struct clone_args shared = { .exit_signal = SIGCHLD };
static volatile bool stop;

/* Status of a child that was made, 0 if it has what it should have. */
static int ends(long pid)
{
	int status = -1;

	if (!pid)
		_exit(!native && open("/dev/sgx_enclave", O_RDWR) < 0);
	return pid > 0 && waitpid(pid, &status, 0) == pid ? status : -1;
}

static long clone3(void *arguments, unsigned long size) { return syscall(SYS_clone3, arguments, size); }

/* The child and its parent find their arguments where they were. */
static int registers(long number, long a, long b)
{
	long result, rdi, rsi;

	__asm__ volatile("syscall" : "=a"(result), "=D"(rdi), "=S"(rsi) : "0"(number), "1"(a), "2"(b), "d"(0l) : "rcx", "r11", "memory");
	if (!result)
		_exit(rdi != a || rsi != b);
	return ends(result) || rdi != a || rsi != b;
}

static void *flip(void *unused)
{
	while (!stop)
		__atomic_xor_fetch(&shared.flags, CLONE_UNTRACED, __ATOMIC_RELAXED);
	return unused;
}

static void while_another_thread_changes_the_flags(void)
{
	pthread_t flipper;
	int failed = 0;

	pthread_create(&flipper, NULL, flip, NULL);
	for (int i = 0; i < ROUNDS; i++)
		failed += ends(clone3(&shared, sizeof(shared))) != 0;
	stop = true;
	pthread_join(flipper, NULL);
	ok_eq(failed, 0, "while another thread changes the flags");
}

static pthread_barrier_t all;

static void *one_of_many(void *unused)
{
	struct clone_args arguments = { .flags = CLONE_UNTRACED, .exit_signal = SIGCHLD };
	long failed = 0;

	(void)unused;
	pthread_barrier_wait(&all);
	for (int i = 0; i < 2; i++)
		failed += ends(clone3(&arguments, sizeof(arguments))) != 0;
	return (void *)failed;
}

static void many_at_once(void)
{
	pthread_t threads[THREADS];
	long failed = 0;
	void *one;

	pthread_barrier_init(&all, NULL, THREADS);
	for (int i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, one_of_many, NULL);
	for (int i = 0; i < THREADS; i++) {
		pthread_join(threads[i], &one);
		failed += (long)one;
	}
	ok_eq(failed, 0, "of many threads at once");
}

static void wrong(void)
{
	struct { struct clone_args known; uint8_t unknown[5000]; } large = { .known = { .exit_signal = SIGCHLD } };
	struct clone_args bad = { .flags = CLONE_UNTRACED | CLONE_DETACHED, .exit_signal = SIGCHLD };

	ok(clone3(&bad, sizeof(bad)) == -1 && errno == EINVAL, "a flag that clone3 does not know");
	ok(registers(SYS_clone3, (long)&bad, sizeof(bad)) == 1, "no child is made then");
	ok(clone3(&large, 63) == -1 && errno == EINVAL, "too small");
	ok(clone3(&large, 4097) == -1 && errno == E2BIG, "too large");
	ok(clone3(NULL, 64) == -1 && errno == EFAULT, "nowhere");
	ok_eq(ends(clone3(&large, 4096)), 0, "larger than is known, but zero");
	large.unknown[1000] = 1;
	ok(clone3(&large, 4096) == -1 && errno == E2BIG, "with what nobody knows");
}

int main(int argc, char **argv)
{
	struct clone_args arguments = { .flags = CLONE_UNTRACED | CLONE_CLEAR_SIGHAND, .exit_signal = SIGCHLD };

	native = argc > 1 && !strcmp(argv[1], "native");
	fflush(stdout);
	ok_eq(ends(syscall(SYS_clone, CLONE_UNTRACED | SIGCHLD, 0, 0, 0, 0)), 0, "clone");
	fflush(stdout);
	ok_eq(ends(clone3(&arguments, sizeof(arguments))), 0, "clone3");
	fflush(stdout);
	ok_eq(registers(SYS_clone, CLONE_UNTRACED | SIGCHLD, 0), 0, "registers after clone");
	fflush(stdout);
	ok_eq(registers(SYS_clone3, (long)&arguments, sizeof(arguments)), 0, "registers after clone3");
	ok_eq(arguments.flags, CLONE_UNTRACED | CLONE_CLEAR_SIGHAND, "the program's flags are as they were");
	fflush(stdout);
	wrong();
	fflush(stdout);
	while_another_thread_changes_the_flags();
	fflush(stdout);
	many_at_once();
	return done();
}
