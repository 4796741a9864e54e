/* Two threads enter, each at a TCS and then at the other's, and have exceptions, in an enclave that was loaded a page at a
   time. What the program has at the addresses that it is told, since before it opened the device, stays as it is. */
#include "enclave.h"

#define ENTRIES 200
#define SIZE (8 * PAGE)
#define FILL 0x5a

static struct enclave enclave;
static _Atomic long wrong;
static uint64_t first;

static void *work(void *argument)
{
	uint64_t index = (uint64_t)argument;
	void *tcs = enclave_tcs(&enclave, first ^ index);

	for (long i = 0; i < ENTRIES; i++) {
		struct request add = { .op = OP_ADD, .a = index, .b = i }, ud2 = { .op = OP_UD2 }, drop = { .op = OP_EDECCSSA };

		wrong += attempt(tcs, &add, EENTER).function != EEXIT || add.result != index + i;
		wrong += attempt(tcs, &ud2, EENTER).vector != 6 || attempt(tcs, &drop, EENTER).function != EEXIT;
	}
	return NULL;
}

int main(int argc, char **argv)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
	struct enclave_options options = { .heap_pages = 100, .singly = true };
	pthread_t other;

	for (int i = 1; i < argc; i++) {
		void *own = (void *)strtoul(argv[i], NULL, 0);

		if (ok(mmap(own, SIZE, PROT_READ | PROT_WRITE, flags, -1, 0) == own, "mmap"))
			memset(own, FILL, SIZE);
	}
	enclave_load(&enclave, &options);
	for (first = 0; first < 2; first++) {
		pthread_create(&other, NULL, work, (void *)1);
		work(NULL);
		pthread_join(other, NULL);
		ok_eq(wrong, 0, "entries");
	}
	for (int i = 1; i < argc; i++) {
		const uint8_t *own = (uint8_t *)strtoul(argv[i], NULL, 0);

		ok(own[0] == FILL && !memcmp(own, own + 1, SIZE - 1), "what is there is the program's");
	}
	return done();
}
