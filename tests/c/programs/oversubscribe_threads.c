/* Two enclaves, two threads in each, twice as many pages as the EPC (run with --epc 2M): every page keeps its contents. */
#include "enclave.h"

#define PAGES 500

static struct enclave enclaves[2];
static volatile int wrong;

static void *work(void *argument)
{
	uint64_t index = (uint64_t)argument, first = index % 2 * (PAGES / 2);
	struct enclave *enclave = &enclaves[index / 2];

	for (int round = 0; round < 2; round++)
		for (uint64_t i = first; i < first + PAGES / 2; i++) {
			struct request request = { .op = round ? OP_READ : OP_WRITE, .b = index << 32 | i,
				.a = (uint64_t)enclave->base + enclave->heap + i * PAGE };

			if (attempt(enclave_tcs(enclave, index % 2), &request, EENTER).function != EEXIT)
				wrong++;
			wrong += round && request.result != request.b;
		}
	return NULL;
}

int main(void)
{
	struct enclave_options options = { .heap_pages = PAGES };
	pthread_t threads[4];

	for (int i = 0; i < 2; i++)
		enclave_load(&enclaves[i], &options);
	ask(enclave_tcs(&enclaves[0], 0), OP_NOP, 0, 0, 0);
	for (uint64_t i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, work, (void *)i);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	ok_eq(wrong, 0, "contents");
	return done();
}
