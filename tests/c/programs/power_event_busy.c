/* Power events while threads enter, leave, and touch new pages: each is told by its next entry, whatever it was doing. */
#include "fault.h"

enum { ROUNDS = 12, THREADS = 3 };

static struct enclave enclave;
static volatile int lost, wrong;
static volatile bool entering;

static void *work(void *argument)
{
	uint64_t index = (uint64_t)argument, i = 0;
	void *tcs = enclave_tcs(&enclave, index);
	struct outcome got;

	do {
		struct request request = { .op = i % 2 ? OP_ADD : OP_WRITE, .b = i,
			.a = (uint64_t)enclave.base + enclave.heap + (i / 2 % 8 * THREADS + index) * PAGE };

		got = attempt(tcs, &request, EENTER);
		entering = true;
		i++;
	} while (got.function == EEXIT);
	wrong += got.vector != 14 || got.error != 0x8005 || got.address != (uint64_t)tcs;
	lost++;
	return NULL;
}

int main(void)
{
	struct enclave_options options = { .heap_pages = 8 * THREADS };
	pthread_t threads[THREADS];
	int device = open("/dev/sgx_enclave", O_RDWR), dropped = 0;

	for (int round = 0; round < ROUNDS; round++) {
		enclave_load(&enclave, &options);
		entering = false;
		for (uint64_t i = 0; i < THREADS; i++)
			pthread_create(&threads[i], NULL, work, (void *)i);
		while (!entering)
			usleep(100);
		usleep(round * 200);
		dropped += ioctl(device, ENCLU_SGX_IOC_DROP_EPC) == 0;
		for (int i = 0; i < THREADS; i++)
			pthread_join(threads[i], NULL);
		enclave_unload(&enclave);
	}
	ok_eq(dropped, ROUNDS, "every power event takes place");
	ok_eq(lost, ROUNDS * THREADS, "every thread is told");
	ok_eq(wrong, 0, "of a #PF with the SGX bit at its TCS");
	return done();
}
