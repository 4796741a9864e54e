/* Threads that all add pages to one enclave: each call succeeds or is EBUSY, and exactly what succeeded is there. */
#include "enclave.h"

#include <pthread.h>

#define THREADS 3
#define EACH 100

static struct enclave enclave;
static volatile int added[THREADS * EACH], strange;

static int add_page(uint64_t i, uint64_t *count)
{
	static uint8_t source[PAGE] __attribute__((aligned(4096)));
	struct { uint64_t flags, reserved[7]; } __attribute__((aligned(64))) secinfo = { .flags = PT_REG_FLAGS | 3 };
	struct sgx_enclave_add_pages arguments = { .src = (uint64_t)source, .offset = enclave.spare + i * PAGE,
		.length = PAGE, .secinfo = (uint64_t)&secinfo };
	int result = ioctl(enclave.fd, SGX_IOC_ENCLAVE_ADD_PAGES, &arguments) ? errno : 0;

	*count = arguments.count;
	return result;
}

static void *add(void *argument)
{
	uint64_t first = (uint64_t)argument * EACH, count;

	for (uint64_t i = first; i < first + EACH; i++) {
		int result = add_page(i, &count);

		added[i] = !result;
		strange += result ? result != EBUSY || count : count != PAGE;
	}
	return NULL;
}

int main(void)
{
	struct enclave_options options = { .no_init = true, .spare_pages = THREADS * EACH };
	pthread_t threads[THREADS];
	uint64_t count;
	int wrong = 0;

	enclave_load(&enclave, &options);
	for (uint64_t i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, add, (void *)i);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	ok_eq(strange, 0, "every call succeeded or was EBUSY, with its count");
	for (uint64_t i = 0; i < THREADS * EACH; i++)
		wrong += add_page(i, &count) != (added[i] ? EBUSY : 0);
	ok_eq(wrong, 0, "exactly the pages of the calls that succeeded are there");
	ok_eq(enclave_init(&enclave) ? errno : 0, EPERM, "INIT: they are measured");
	return done();
}
