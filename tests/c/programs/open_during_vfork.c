/* A thread waits in vfork(2), and cannot be stopped, while another one opens the device for the first time. */
#include "enclave.h"

static int pipes[2];
static volatile bool up;

static void *spawner(void *unused)
{
	(void)unused;
	if (!vfork()) {
		char byte;

		up = true;
		if (read(pipes[0], &byte, 1) == 1)
			execl("/bin/true", "true", NULL);
		_exit(1);
	}
	return NULL;
}

int main(void)
{
	struct request request = { .op = OP_ADD, .a = 1, .b = 2 };
	struct enclave enclave;
	pthread_t thread;

	if (pipe(pipes))
		return 1;
	pthread_create(&thread, NULL, spawner, NULL);
	while (!up)
		usleep(1000);
	enclave_load(&enclave, NULL);
	enclave_call(enclave_tcs(&enclave, 0), &request, NULL);
	ok_eq(request.result, 3, "entered");
	ok_eq(write(pipes[1], "x", 1), 1, "the child goes on");
	pthread_join(thread, NULL);
	wait(NULL); /* or the program may end first, and its enclave with it before counters are told */
	return done();
}
