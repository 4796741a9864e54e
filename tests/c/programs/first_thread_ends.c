/* The first thread ends; another one uses an enclave. */
#include "enclave.h"

#include <pthread.h>

static pthread_t first;

static void *later(void *unused)
{
	struct request request = { .op = OP_ADD, .a = 20, .b = 22 };
	struct enclave enclave;

	(void)unused;
	pthread_join(first, NULL);
	enclave_load(&enclave, NULL);
	enclave_call(enclave_tcs(&enclave, 0), &request, NULL);
	ok_eq(request.result, 42, "entered");
	exit(done());
}

int main(void)
{
	pthread_t thread;

	first = pthread_self();
	pthread_create(&thread, NULL, later, NULL);
	pthread_exit(NULL);
}
