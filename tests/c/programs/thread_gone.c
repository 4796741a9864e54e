/* Threads that end with an interrupted frame, or are ended inside, leave a TCS that others can go on with. */
#include "enclave.h"

#include <sys/syscall.h>

static struct enclave enclave;
static volatile uint32_t never;

static void *faults(void *tcs)
{
	struct request ud2 = { .op = OP_UD2 };

	return (void *)(uint64_t)(attempt(tcs, &ud2, EENTER).vector == 6);
}

int main(void)
{
	struct request nop = { .op = OP_NOP }, fix = { .op = OP_FIX_RIP };
	struct enclave_options options = { .heap_pages = 1 };
	void *tcs, *fault;
	int status;
	pthread_t thread;
	pid_t child;

	enclave_load(&enclave, &options);
	tcs = enclave_tcs(&enclave, 0);
	pthread_create(&thread, NULL, faults, tcs);
	pthread_join(thread, &fault);
	ok(fault, "a thread got #UD and ended");
	expect_exit("another enters by its TCS", attempt(tcs, &fix, EENTER));
	ok_eq(fix.cssa, 1, "at CSSA 1");
	ok_eq(fix.exitinfo, 0x80000306, "and sees the frame");
	drop_frame(tcs);
	attempt(tcs, &nop, EENTER);
	ok_eq(nop.cssa, 0, "which it can give up");

	fflush(stdout);
	child = fork();
	if (!child) {
		struct enclave own;
		struct spinner spinners[2];

		enclave_load(&own, &options);
		for (int i = 0; i < 2; i++)
			spinner_start(&spinners[i], enclave_tcs(&own, i));
		syscall(SYS_exit_group, 42);
	}
	waitpid(child, &status, 0);
	ok_eq(status, 42 << 8, "a process ends with two threads inside");
	expect_exit("this one goes on", attempt(tcs, &nop, EENTER));
	return done();
}
