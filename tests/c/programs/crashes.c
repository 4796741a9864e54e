/* Ends by a signal, or waits to be looked at: for the tests of cores.  Argument: how. */
#include "enclave.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#define ATTRIBUTES_DEBUG 2

static struct enclave enclave;
static struct state in, out;
static struct spinner spinner;
static volatile int known = 4711;

__attribute__((noinline)) static void host_crash(volatile int *where)
{
	*where = known;
}

static void *waits(void *argument)
{
	*(volatile bool *)argument = true;
	pause();
	return NULL;
}

static volatile bool go;

static void *crashes(void *argument)
{
	while (!go)
		;
	host_crash((int *)0x1230);
	return argument;
}

static volatile int stuck_tid;

/* Waits within a system call for a page that nobody supplies. */
static void *stuck(void *argument)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register range = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	char *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC);

	range.range.start = (uint64_t)page;
	range.range.len = PAGE;
	if (fd < 0 || ioctl(fd, UFFDIO_API, &api) || ioctl(fd, UFFDIO_REGISTER, &range))
		exit(77);
	stuck_tid = gettid();
	syscall(SYS_getcwd, page, PAGE);
	return argument;
}

static bool asleep(void)
{
	char path[64], state = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", stuck_tid);
	file = stuck_tid ? fopen(path, "r") : NULL;
	if (file) {
		if (fscanf(file, "%*d (%*[^)]) %c", &state) != 1)
			state = 0;
		fclose(file);
	}
	return state == 'S' || state == 'D';
}

static void start_waiting(void)
{
	static volatile bool there;
	pthread_t thread;

	pthread_create(&thread, NULL, waits, (void *)&there);
	while (!there)
		;
}

/* Raw: an exception has the default action of its signal.  One that the kernel resolves is an AEX and no more. */
static void enter(struct request request)
{
	struct raw_fault fault;
	int result = raw_enter_once(EENTER, enclave_tcs(&enclave, 0), &request, &fault);

	while (result == RAW_AEX)
		result = raw_enter_once(ERESUME, enclave_tcs(&enclave, 0), &request, &fault);
}

static void ready(void)
{
	printf("ready\n");
	fflush(stdout);
}

int main(int argc, char **argv)
{
	const char *how = argv[1];
	bool production = argc > 2 && !strcmp(argv[2], "production");
	struct enclave_options options = { .attributes = production ? 0 : ATTRIBUTES_DEBUG, .heap_pages = 300 };
	struct request request = { .op = OP_UD2 };
	pthread_t thread;

	if (!strcmp(how, "host")) {
		start_waiting();
		host_crash((int *)0x1230);
	}
	if (!strcmp(how, "threads")) {
		for (int i = 0; i < 16; i++)
			pthread_create(&thread, NULL, crashes, NULL);
		waits((void *)&go);
	}
	if (!strcmp(how, "stuck")) {
		pthread_create(&thread, NULL, stuck, NULL);
		while (!asleep())
			usleep(1000);
		abort();
	}
	if (!strcmp(how, "abort"))
		abort();
	if (!strcmp(how, "quit"))
		return raise(SIGQUIT);
	if (!strcmp(how, "undumpable")) {
		prctl(PR_SET_DUMPABLE, 0);
		abort();
	}
	if (!strcmp(how, "reserved")) {
		char *reserved = mmap(NULL, 1ul << 40, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

		mmap(NULL, 1ul << 40, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		reserved[1ul << 39] = 1;
		host_crash((int *)0x1230);
	}
	if (!strcmp(how, "seccomp") || !strcmp(how, "seccomp-threads")) {
		struct sock_filter filter[] = {
			BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
			BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
			BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
			BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		};
		struct sock_fprog program = { sizeof(filter) / sizeof(*filter), filter };

		if (strcmp(how, "seccomp"))
			start_waiting();
		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
		prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
		getppid();
	}
	if (!strcmp(how, "forks")) {
		for (int i = 0; i < 2; i++)
			if (!fork())
				abort();
		while (wait(NULL) > 0)
			;
		return 0;
	}
	enclave_load(&enclave, &options);
	ask(enclave_tcs(&enclave, 1), OP_WRITE, (uint64_t)enclave.base + enclave.heap, 0x1122334455667788, 0);
	if (!strcmp(how, "enclave")) {
		spinner_start(&spinner, enclave_tcs(&enclave, 1));
		start_waiting();
		for (int i = 0; i < 16; i++) {
			in.gpr[i] = 0x1000 + i;
			for (int j = 0; j < 4; j++)
				memcpy(in.vector[i] + 8 * j, &in.gpr[i], 8);
		}
		signal(SIGILL, SIG_DFL);
		enter((struct request){ .op = OP_STATE, .a = (uint64_t)&in, .c = (uint64_t)&out });
	}
	if (!strcmp(how, "line")) {
		signal(SIGSEGV, SIG_DFL);
		enter((struct request){ .op = OP_WRITE, .a = 0x1230 });
	}
	if (!strcmp(how, "handled")) { /* the exception is the host's, who gives up */
		attempt(enclave_tcs(&enclave, 0), &request, EENTER);
		abort();
	}
	if (!strcmp(how, "waits")) {
		attempt(enclave_tcs(&enclave, 0), &request, EENTER);
		spinner_start(&spinner, enclave_tcs(&enclave, 1));
		ready();
		getchar();
		spinner.stop = 1;
		spinner_join(&spinner);
		drop_frame(enclave_tcs(&enclave, 0));
		return ask(enclave_tcs(&enclave, 0), OP_ADD, 20, 22, 0) == 42 ? 0 : 1;
	}
	return 99;
}
