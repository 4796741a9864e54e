/* A thread, not the first one, executes the program anew; the new image loads and enters an enclave. */
#include "enclave.h"

#include <pthread.h>

static struct enclave enclave;
static char **arguments;

static void *again(void *unused)
{
	char *next[] = { arguments[0], "again", NULL };

	(void)unused;
	execv("/proc/self/exe", next);
	return NULL;
}

static void *idle(void *unused)
{
	(void)unused;
	for (;;)
		pause();
	return NULL;
}

int main(int argc, char **argv)
{
	struct request request = { .op = OP_ADD, .a = 8, .b = 9 };
	pthread_t threads[2];

	arguments = argv;
	enclave_load(&enclave, NULL);
	enclave_call(enclave_tcs(&enclave, 0), &request, NULL);
	if (argc == 1) {
		pthread_create(&threads[0], NULL, idle, NULL);
		pthread_create(&threads[1], NULL, again, NULL);
		pthread_join(threads[1], NULL);
		return 1;
	}
	ok_eq(request.result, 17, "entered after exec");
	return done();
}
