/*
 * The vdso-jmp design: the jump behind the vDSO's ENCLU comes and goes while threads execute it, without ENCLU. Each
 * time they find the whole jump or the UD2, also with SIGTRAP blocked and in children that are forked meanwhile; and a
 * thread that has nothing to do with it waits undisturbed.
 */
#include "enclave.h"

#include "enclu_sgx.h"

#include <sys/epoll.h>

#define ROUNDS 200
#define SIZE_OF_ENCLU 3

static uint8_t *site;
static volatile bool stop;
static volatile int jumps[3], refused[3], traps, waits, interrupted, children, wrong_children;
static __thread int number;

/* As if the UD2 were a RET. */
static void on_ill(int signo, siginfo_t *info, void *context)
{
	greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;

	(void)signo, (void)info;
	refused[number] += registers[REG_RIP] == (greg_t)site;
	registers[REG_RIP] = *(greg_t *)registers[REG_RSP];
	registers[REG_RSP] += 8;
	jumps[number]--;
}

static void on_trap(int signo, siginfo_t *info, void *context)
{
	(void)signo, (void)info, (void)context;
	traps++;
}

static void call(void)
{
	jumps[number]++;
	((void (*)(void))site)();
}

static void *calls(void *argument)
{
	sigset_t trap;

	number = (long)argument;
	sigemptyset(&trap);
	sigaddset(&trap, SIGTRAP);
	if (number)
		pthread_sigmask(SIG_BLOCK, &trap, NULL);
	while (!stop)
		call();
	return NULL;
}

static void *forks(void *unused)
{
	int status;

	number = 2;
	while (!stop) {
		pid_t child = fork();

		if (!child) {
			traps = 0;
			call();
			_exit(traps != 0);
		}
		waitpid(child, &status, 0);
		children++;
		wrong_children += status != 0;
	}
	return unused;
}

static void *waits_long(void *unused)
{
	int epoll = epoll_create1(0);
	struct epoll_event event;

	while (!stop) {
		interrupted += epoll_wait(epoll, &event, 1, 50) != 0;
		waits++;
	}
	return unused;
}

int main(void)
{
	struct enclu_sgx_vdso_target arguments;
	int failures = 0, met = 0;
	pthread_t threads[4];
	struct enclave enclave;
	uint8_t *page;

	handle(SIGILL, on_ill);
	handle(SIGTRAP, on_trap);
	enclave_load(&enclave, NULL);
	site = (uint8_t *)vdso_symbol("__vdso_sgx_enter_enclave") + SIZE_OF_ENCLU;
	page = mmap((uint8_t *)((uint64_t)site & -PAGE) + 0x100000, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	*page = 0xc3; /* RET */
	arguments = (struct enclu_sgx_vdso_target){ .target = (uint64_t)page };
	failures += ioctl(enclave.fd, ENCLU_SGX_IOC_SET_VDSO_TARGET, &arguments) != 0;
	pthread_create(&threads[0], NULL, calls, (void *)0);
	pthread_create(&threads[1], NULL, calls, (void *)1);
	pthread_create(&threads[2], NULL, forks, NULL);
	pthread_create(&threads[3], NULL, waits_long, NULL);
	for (int round = 0; round < ROUNDS || !children || waits < 2; round++) {
		failures += ioctl(enclave.fd, ENCLU_SGX_IOC_CLEAR_VDSO_TARGET, 0) != 0;
		failures += ioctl(enclave.fd, ENCLU_SGX_IOC_SET_VDSO_TARGET, &arguments) != 0;
	}
	stop = true;
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < 2; i++)
		met += jumps[i] > 0;
	printf("# %d and %d jumps, %d and %d UD2, %d children\n", jumps[0], jumps[1], refused[0], refused[1], children);
	ok_eq(failures, 0, "the ioctls succeeded");
	ok_eq(met, 2, "both threads met the jump");
	ok_eq(traps, 0, "nobody met anything else");
	ok_eq(wrong_children, 0, "nor did a child");
	ok_eq(interrupted, 0, "no wait was interrupted");
	return done();
}
