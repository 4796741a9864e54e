/* exec by one thread while others are inside: the new image loads and enters an enclave of its own. */
#include "enclave.h"

static struct enclave enclave;
static char *path;

static void *again(void *times)
{
	char *next[] = { path, times, NULL };

	execv("/proc/self/exe", next);
	return NULL;
}

int main(int argc, char **argv)
{
	/* Of an EPC of 1M three quarters. */
	struct enclave_options options = { .heap_pages = 130 };
	struct spinner spinners[2];
	pthread_t thread;
	int times = argc > 1 ? atoi(argv[1]) : 0;
	char next[16];

	path = argv[0];
	enclave_load(&enclave, &options);
	ok_eq(ask(enclave_tcs(&enclave, 0), OP_ADD, times, 1, 0), times + 1, "entered");
	if (times == 4)
		return done();
	for (int i = 0; i < 2; i++)
		spinner_start(&spinners[i], enclave_tcs(&enclave, i));
	snprintf(next, sizeof(next), "%d", times + 1);
	if (times % 2) {
		pthread_create(&thread, NULL, again, next);
		pthread_join(thread, NULL);
	} else {
		again(next);
	}
	return 1;
}
