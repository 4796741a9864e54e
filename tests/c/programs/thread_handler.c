/* The thread-handler design: handlers nest in a thread, and every thread has its own. */
#include "fault.h"

#include <pthread.h>
#include <setjmp.h>
#include <sys/time.h>

static struct enclave enclave, other;
static volatile uint32_t flag;
static volatile enum met met_in_handler;
volatile uint64_t inner_count;

/* A handler of another runtime, which counts. */
void inner(void);
__asm__(".text\ninner: incq inner_count(%rip)\n jmp raw_faulted\n");

static int call(unsigned long command, void *handler, uint64_t flags)
{
	struct enclu_sgx_thread_handler arguments = { .handler = (uint64_t)handler, .flags = flags };

	return ioctl(enclave.fd, command, &arguments) ? errno : 0;
}

static int push(void *handler) { return call(ENCLU_SGX_IOC_REGISTER_THREAD_HANDLER, handler, 0); }
static int pop(void *handler) { return call(ENCLU_SGX_IOC_UNREGISTER_THREAD_HANDLER, handler, 0); }

static void errors(void)
{
	unsigned long commands[] = { ENCLU_SGX_IOC_REGISTER_THREAD_HANDLER, ENCLU_SGX_IOC_UNREGISTER_THREAD_HANDLER };
	int depth = 0;

	for (int i = 0; i < 2; i++) {
		ok_eq(call(commands[i], NULL, 0), EINVAL, "no handler: EINVAL");
		ok_eq(call(commands[i], (void *)(1ull << 63), 0), EINVAL, "not a user address: EINVAL");
		ok_eq(call(commands[i], raw_faulted, 1), EINVAL, "flags: EINVAL");
		ok_eq(ioctl(enclave.fd, commands[i], 8) ? errno : 0, EFAULT, "no structure: EFAULT");
	}
	ok_eq(pop(raw_faulted), ENOENT, "nothing to unregister: ENOENT");
	ok_eq(ioctl(enclave.fd, ENCLU_SGX_IOC_UNREGISTER_MM_HANDLER, 0) ? errno : 0, ENOTTY, "another design's: ENOTTY");
	push(raw_faulted);
	while (!push(inner))
		depth++;
	ok_eq(errno, ENOSPC, "too deep: ENOSPC");
	ok_eq(depth, 63, "64 handlers");
	ok_eq(pop(raw_faulted), 0, "unregistering the outermost unwinds all");
	ok_eq(pop(inner), ENOENT, "nothing is left");
}

/* While the thread is in an enclave, a signal handler enters another one. */
static void on_alarm(int signo, siginfo_t *info, void *context)
{
	(void)signo, (void)info, (void)context;
	if (flag)
		return;
	push(inner);
	met_in_handler = meet_ud2(&other, raw_direct_enclu, NULL);
	pop(inner);
	flag = 1;
}

static void nesting(void)
{
	struct itimerval soon = { .it_value.tv_usec = 1000 };
	struct request spin = { .op = OP_SPIN, .a = (uint64_t)&flag };
	struct raw_fault fault;
	jmp_buf place;

	printf("# nesting\n");
	push(raw_faulted);
	push(inner);
	ok_eq(meet_ud2(&other, raw_direct_enclu, NULL), MET_HANDLER, "a handler");
	ok_eq(inner_count, 1, "the innermost");
	ok_eq(pop(inner), 0, "unregistered");
	ok_eq(meet_ud2(&enclave, raw_direct_enclu, NULL), MET_HANDLER, "a handler");
	ok_eq(inner_count, 1, "the outer");

	handle(SIGALRM, on_alarm);
	setitimer(ITIMER_REAL, &soon, NULL);
	ok_eq(raw_enter_at(EENTER, enclave_tcs(&enclave, 1), &spin, &fault, raw_direct_enclu), RAW_EXITED, "entered");
	ok_eq(met_in_handler, MET_HANDLER, "an exception in a signal handler's enclave");
	ok_eq(inner_count, 2, "the innermost handler");
	ok_eq(meet_ud2(&enclave, raw_direct_enclu, NULL), MET_HANDLER, "afterwards a handler");
	ok_eq(inner_count, 2, "the outer");

	if (!setjmp(place)) {
		push(inner);
		longjmp(place, 1); /* out of an OCALL */
	}
	ok_eq(pop(raw_faulted), 0, "the outer one is unregistered although an inner one was left behind");
	ok_eq(meet_ud2(&enclave, raw_direct_enclu, NULL), MET_SIGNAL, "then a signal");
}

static void *elsewhere(void *unused)
{
	(void)unused;
	ok_eq(pop(raw_faulted), ENOENT, "a new thread has no handler");
	ok_eq(meet_ud2(&other, raw_direct_enclu, NULL), MET_SIGNAL, "so a signal");
	push(inner);
	ok_eq(meet_ud2(&other, raw_direct_enclu, NULL), MET_HANDLER, "its own handler");
	return NULL;
}

static int child(void)
{
	struct raw_fault fault;
	int met = meet_bad_tcs(&enclave, raw_direct_enclu, &fault);

	return met == MET_HANDLER && fault.leaf == EENTER && !pop(raw_faulted) ? 42 : 1;
}

static void inheritance(void)
{
	pthread_t thread;
	uint64_t count = inner_count;

	printf("# inheritance\n");
	push(raw_faulted);
	pthread_create(&thread, NULL, elsewhere, NULL);
	pthread_join(thread, NULL);
	ok_eq(inner_count, count + 1, "called in the new thread");
	ok_eq(meet_ud2(&enclave, raw_direct_enclu, NULL), MET_HANDLER, "the first thread has its own");
	ok_eq(inner_count, count + 1, "as before");
	ok_eq(in_child(child), 42, "a forked child has a copy");
	ok_eq(meet_ud2(&enclave, raw_direct_enclu, NULL), MET_HANDLER, "the parent keeps its own");
	ok_eq(in_child(exec_again), 42, "exec removes it");
}

int main(int argc, char **argv)
{
	(void)argv;
	catch_signals();
	enclave_load(&enclave, NULL);
	if (argc > 1)
		return meet_ud2(&enclave, raw_direct_enclu, NULL) == MET_SIGNAL && caught.rip == (uint64_t)raw_direct_enclu &&
		       pop(raw_faulted) == ENOENT ? 42 : 1;
	enclave_load(&other, NULL);
	errors();
	ok_eq(meet_ud2(&enclave, raw_direct_enclu, NULL), MET_SIGNAL, "without a handler: a signal");
	push(raw_faulted);
	expect_both(&enclave, raw_direct_enclu, "registered");
	pop(raw_faulted);
	nesting();
	inheritance();
	return done();
}
