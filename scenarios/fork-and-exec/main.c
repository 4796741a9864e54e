#include "pair.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

static struct sgx_runtime *a, *b;
static struct pair pair;

enum { TOLD, NOT_TOLD, STALE, REFUSED = 100 };

/* A child cannot enter its parent's enclaves and loads its own. */
static int told_of_own(struct sgx_runtime *runtime)
{
	struct pair own = new_pair("child's", runtime);

	return pair_fault(&own, 0) ? TOLD : NOT_TOLD;
}

static int inherited(void)
{
	return told_of_own(a);
}

/* Replaces what the child has inherited. */
static int another(void)
{
	int error = a->stop();

	error = error ? error : b->start();
	return error ? REFUSED + error : told_of_own(b);
}

/* What is left of a registration would lead into nothing here, or elsewhere. */
static volatile uint64_t faulted_at;
extern uint8_t bare_enclu[], bare_next[];

static void on_fault(int signo, siginfo_t *info, void *context)
{
	greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;

	(void)signo, (void)info;
	faulted_at = registers[REG_RIP];
	registers[REG_RIP] = (greg_t)bare_next;
}

static int after_exec(void)
{
	struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER };

	sigaction(SIGSEGV, &action, NULL);
	__asm__ volatile("lea bare_enclu(%%rip), %%rcx; bare_enclu: .byte 0x0f, 0x01, 0xd7; bare_next:"
			 : : "a"(EENTER), "b"(8) : "rcx", "rdx", "rsi", "rdi", "memory");
	if (faulted_at != (uint64_t)bare_enclu)
		return STALE;
	a = open_runtime("a");
	must_start(a);
	return told_of_own(a);
}

static int exec(void)
{
	execl("/proc/self/exe", "fork-and-exec", "again", NULL);
	return NOT_TOLD;
}

static int status_of(pid_t child)
{
	int status;

	waitpid(child, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

/* It runs in its parent's memory, with its parent's stack, and may enter its parent's enclave. */
static __attribute__((noinline)) int vfork_and_enter(void)
{
	pid_t child = vfork();

	if (child == 0)
		_exit(pair_fault(&pair, 1) ? TOLD : NOT_TOLD);
	return status_of(child);
}

static __attribute__((noinline)) int vfork_and_exec(void)
{
	pid_t child = vfork();

	if (child == 0) {
		exec();
		_exit(NOT_TOLD);
	}
	return status_of(child);
}

static void *enter_anew(void *unused)
{
	ok(pair_fault(&pair, 3), "a new thread is told of its exceptions");
	return unused;
}

static void run_thread(void *(*body)(void *))
{
	pthread_t thread;

	pthread_create(&thread, NULL, body, NULL);
	pthread_join(thread, NULL);
}

static uint64_t during_ocall(void *context, void *argument)
{
	(void)context, (void)argument;
	ok(!strcmp(in_child(inherited), "exited with 0"), "forked during an OCALL, a child is told of its exceptions");
	ok_eq(vfork_and_enter(), TOLD, "likewise with vfork, of those of its parent's enclave");
	ok(!strcmp(in_child(exec), "exited with 0"), "after exec nothing is registered, and the runtime starts anew");
	ok_eq(vfork_and_exec(), TOLD, "likewise with vfork");
	run_thread(enter_anew);
	return 0;
}

static uint64_t exit_thread(void *context, void *argument)
{
	(void)context, (void)argument;
	pthread_exit(NULL);
}

/* The thread ends in an OCALL: neither does the enclave end its ECALL, nor the runtime its entry. */
static void *end_during_ocall(void *unused)
{
	static const sgx_ocall ocalls[] = { exit_thread };
	struct step steps[] = { { STEP_OCALL, 0, 0, 0 }, { STEP_END, 0, 0, 0 } };

	pair_run(&pair, 3, steps, ocalls, 1);
	ok(false, "a thread that ends does not return");
	return unused;
}

int main(int argc, char **argv)
{
	static const sgx_ocall ocalls[] = { during_ocall };
	struct step steps[] = { { STEP_OCALL, 0, 0, 0 }, { STEP_UD, 0, 0, 0 }, { STEP_END, 0, 0, 0 } };
	const char *ended;
	int error;

	if (argc > 1 && !strcmp(argv[1], "again"))
		return after_exec();
	a = open_runtime("a");
	b = open_runtime("b");
	must_start(a);
	pair = new_pair("parent's", a);
	ok(!strcmp(in_child(inherited), "exited with 0"), "a forked child is told of its exceptions");
	ok_eq(pair_run(&pair, 0, steps, ocalls, 1), EFAULT, "the parent's ECALL goes on");
	ok_eq(pair.told.vector, 6, "until its exception, of which its host is told");
	for (int i = 0; i < 3; i++)
		run_thread(end_during_ocall);
	run_thread(enter_anew);
	ended = in_child(another);
	ok(pair_fault(&pair, 1), "what a child has replaced, its parent still has");
	if (sscanf(ended, "exited with %d", &error) == 1 && error > REFUSED)
		refused("a forked child, another runtime: %s", errno_name(error - REFUSED));
	ok(!strcmp(ended, "exited with 0"), "a forked child can stop what it has inherited and use another runtime");
	finish();
}
