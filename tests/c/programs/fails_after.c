/* Is refused something by the driver or an ENCLU leaf, and ends as the first argument says. */
#include "enclave.h"

#include <sys/prctl.h>
#include <sys/syscall.h>

static struct enclave enclave;
static struct sgx_enclave_run run;
static int fd, status;

static void refused(void)
{
	struct sgx_enclave_add_pages add = { .length = PAGE };

	if (ioctl(fd, SGX_IOC_ENCLAVE_ADD_PAGES, &add) == 0)
		_exit(99);
}

static void enter(uint64_t op, uint64_t a, unsigned int leaf)
{
	struct request request = { .op = op, .a = a };

	if (vdso_enter(enclave_tcs(&enclave, 0), &request, leaf, &run))
		_exit(99);
}

static void faulting_leaf(void)
{
	struct request request = { .op = OP_NOP };
	struct raw_fault fault;

	raw_enter_once(EENTER, (void *)0x1008, &request, &fault);
}

static void *refused_thread(void *unused)
{
	refused();
	return unused;
}

static void *faulting_thread(void *unused)
{
	faulting_leaf();
	return unused;
}

static char state_of_first_thread(void)
{
	char path[64], text[512] = "", *end;
	int file;

	snprintf(path, sizeof path, "/proc/self/task/%d/stat", getpid());
	file = open(path, O_RDONLY);
	if (file < 0 || read(file, text, sizeof text - 1) < 0 || close(file))
		_exit(99);
	end = strrchr(text, ')');
	return end ? end[2] : 0;
}

static void *exit_last(void *unused)
{
	while (state_of_first_thread() != 'Z')
		usleep(1000);
	syscall(SYS_exit, status);
	return unused;
}

static void in_thread(void *(*function)(void *), bool wait)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, function, NULL))
		_exit(99);
	if (wait)
		pthread_join(thread, NULL);
}

static void in_child(void (*function)(void), int status)
{
	pid_t child = fork();

	if (child == 0) {
		function();
		_exit(status);
	}
	waitpid(child, NULL, 0);
}

static void nothing(void)
{
}

int main(int argc, char **argv)
{
	const char *how = argc > 1 ? argv[1] : "";
	int count = argc > 3 ? atoi(argv[3]) : 1;
	bool is_so = true;

	status = argc > 2 ? atoi(argv[2]) : 0;
	fd = open("/dev/sgx_enclave", O_RDWR);
	enclave_load(&enclave, NULL);
	if (!strcmp(how, "ioctl")) {
		for (int i = 0; i < count; i++)
			refused();
	} else if (!strcmp(how, "ioctl, then an entry")) {
		refused();
		enter(OP_NOP, 0, EENTER);
	} else if (!strcmp(how, "mapping")) {
		if (mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 0) != MAP_FAILED)
			return 99;
	} else if (!strcmp(how, "leaf")) {
		faulting_leaf();
	} else if (!strcmp(how, "enclave")) {
		enter(OP_UD2, 0, EENTER);
	} else if (!strcmp(how, "enclave's signal")) {
		struct request request = { .op = OP_UD2 };
		struct raw_fault fault;

		for (unsigned int leaf = EENTER; ; leaf = ERESUME)  /* after faults that the kernel resolves */
			raw_enter_once(leaf, enclave_tcs(&enclave, 0), &request, &fault);
	} else if (!strcmp(how, "enclave's handler")) {
		enter(OP_UD2, 0, EENTER);
		enter(OP_NOP, 0, EENTER);
	} else if (!strcmp(how, "repaired")) {
		enter(OP_UD2, 0, EENTER);
		enter(OP_FIX_RIP, 2, EENTER);
		enter(OP_NOP, 0, ERESUME);
	} else if (!strcmp(how, "thread")) {
		in_thread(refused_thread, true);
	} else if (!strcmp(how, "thread, then an entry")) {
		in_thread(refused_thread, true);
		enter(OP_NOP, 0, EENTER);
	} else if (!strcmp(how, "thread among busy ones")) {
		in_thread(faulting_thread, false);
		for (;;)
			enter(OP_NOP, 0, EENTER);
	} else if (!strcmp(how, "last thread")) {
		refused();
		in_thread(exit_last, false);
		syscall(SYS_exit, 0);
	} else if (!strcmp(how, "two processes")) {
		in_child(refused, 7);
		faulting_leaf();
	} else if (!strcmp(how, "child without SGX")) {
		refused();
		in_child(nothing, 8);
	} else if (!strcmp(how, "exec")) {
		refused();
		execl("/bin/sh", "sh", "-c", "exit 5", NULL);
	} else if (!strcmp(how, "abort")) {
		refused();
		abort();
	} else if (!strcmp(how, "terminated")) {
		refused();
		kill(getpid(), SIGTERM);
	} else if (!strcmp(how, "name")) {
		refused();
		prctl(PR_SET_NAME, "a\nb\x1b[1m");
	} else {
		is_so = false;
	}
	return is_so ? status : 99;
}
