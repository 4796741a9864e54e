/* A registration with mm-handler: threads share it, a forked child has a copy of it, exec ends it. */
#include "enclave.h"

#include "enclu_sgx.h"

static struct enclave enclave;

static int drop(int fd)
{
	return ioctl(fd, ENCLU_SGX_IOC_UNREGISTER_MM_HANDLER, 0) ? errno : 0;
}

static void *thread_faults(void *unused)
{
	struct request ud2 = { .op = OP_UD2 };
	struct raw_fault fault;

	(void)unused;
	return (void *)(uint64_t)(raw_enter_direct(EENTER, enclave_tcs(&enclave, 1), &ud2, &fault) == RAW_FAULTED);
}

static int in_child(int (*body)(void))
{
	int status;
	pid_t child;

	fflush(stdout);
	child = fork();
	if (!child)
		_exit(body());
	waitpid(child, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 256;
}

static int forked(void)
{
	struct request ud2 = { .op = OP_UD2 };
	struct raw_fault fault;
	struct enclave own;

	enclave_load(&own, NULL);
	if (raw_enter_direct(EENTER, enclave_tcs(&own, 0), &ud2, &fault) != RAW_FAULTED || fault.vector != 6)
		return 1;
	return drop(own.fd) == 0 ? 42 : 2;
}

static int executed(void)
{
	execl("/proc/self/exe", "mm_handler_inherited", "executed", NULL);
	return 1;
}

int main(int argc, char **argv)
{
	struct enclu_sgx_mm_handler handler = { .handler = (uint64_t)raw_faulted };
	struct request ud2 = { .op = OP_UD2 };
	struct raw_fault fault;
	pthread_t thread;
	void *handled;

	(void)argv;
	if (argc > 1)
		return drop(open("/dev/sgx_enclave", O_RDWR)) == ENOENT ? 42 : 1;
	enclave_load(&enclave, NULL);
	ioctl(enclave.fd, ENCLU_SGX_IOC_REGISTER_MM_HANDLER, &handler);
	pthread_create(&thread, NULL, thread_faults, NULL);
	pthread_join(thread, &handled);
	ok(handled, "another thread's exception goes to it");
	ok_eq(in_child(forked), 42, "a forked child's does, until the child unregisters");
	ok_eq(raw_enter_direct(EENTER, enclave_tcs(&enclave, 0), &ud2, &fault), RAW_FAULTED, "the parent's registration is its own");
	ok_eq(in_child(executed), 42, "after exec there is none");
	ok_eq(drop(enclave.fd), 0, "the parent unregisters");
	return done();
}
