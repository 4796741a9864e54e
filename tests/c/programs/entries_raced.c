/* Threads enter as fast as they can, first all at the same TCS, then each at its own while what entries depend on changes:
   the SSA's protection, TCS.FLAGS, the EPCM, and in the end the mapping and the EPC.  Each entry is right, or faults for a
   reason. */
#include "enclave.h"

#include "enclu_sgx.h"

#define WORKERS 3

static struct enclave enclave;
static long calls = 20000, rounds = 60;
static _Atomic long right, busy, faults, wrong;
static volatile bool stop;

static void once(void *tcs, uint64_t index, uint64_t i, int vector, _Atomic long *count)
{
	struct request request = { .op = OP_ADD, .a = index << 32, .b = i };
	struct outcome got = attempt(tcs, &request, EENTER);

	if (got.function == EEXIT && request.result == request.a + i)
		right++;
	else if (got.function != EEXIT && got.vector == vector)
		(*count)++;
	else if (wrong++ < 5)
		printf("# thread %lu: function %u, vector %d, error %#x, %#lx\n", index, got.function, got.vector, got.error,
		       got.address);
}

static void *share(void *argument)
{
	for (long i = 0; i < calls; i++)
		once(enclave_tcs(&enclave, 3), (uint64_t)argument, i, 13, &busy);
	return NULL;
}

static void *work(void *argument)
{
	uint64_t index = (uint64_t)argument;

	for (uint64_t i = 0; !stop; i++)
		once(enclave_tcs(&enclave, index), index, i, 14, &faults);
	return NULL;
}

static void start(pthread_t *threads, void *(*function)(void *))
{
	for (long i = 0; i < WORKERS; i++)
		pthread_create(&threads[i], NULL, function, (void *)i);
}

static void join(pthread_t *threads)
{
	for (int i = 0; i < WORKERS; i++)
		pthread_join(threads[i], NULL);
}

static bool flags(uint64_t value)
{
	return !enclave_access(&enclave, enclave_tcs(&enclave, 0) + 8, &value, 8, ENCLU_SGX_DEBUG_WRITE);
}

/* SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS of a heap page, and what undoes it. */
static bool restrict_heap(uint64_t page)
{
	struct sgx_enclave_restrict_permissions restriction = {
		.offset = enclave.heap + page * PAGE, .length = PAGE, .permissions = 1,
	};

	return !ioctl(enclave.fd, SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS, &restriction);
}

static void settle(long more)
{
	for (long before = right; right < before + more; )
		usleep(50);
}

int main(int argc, char **argv)
{
	struct enclave_options options = { .attributes = 2 /* DEBUG */ };
	pthread_t threads[WORKERS];
	uint8_t *ssa;
	long failed = 0;

	if (argc > 2) {
		calls = atol(argv[1]);
		rounds = atol(argv[2]);
	}
	options.heap_pages = rounds;
	enclave_load(&enclave, &options);
	ask(enclave_tcs(&enclave, 3), OP_ADD, 1, 1, 0); /* its pages are there */
	start(threads, share);
	join(threads);
	ok(right > 0 && right + busy == WORKERS * calls, "at one TCS: %ld were right, %ld busy", right, busy);
	ok_eq(ask(enclave_tcs(&enclave, 3), OP_ADD, 1, 1, 0), 2, "which is free afterwards");
	ssa = enclave_ssa(&enclave, 0, 0);
	start(threads, work);
	for (long i = 0; i < rounds; i++) {
		settle(100);
		failed += mprotect(ssa, PAGE, i % 2 ? PROT_READ : PROT_NONE) != 0;
		failed += mprotect(ssa, PAGE, PROT_READ | PROT_WRITE) != 0;
		settle(100);
		failed += !flags(1);
		failed += !flags(0);
		settle(100);
		failed += !restrict_heap(i);
	}
	ok_eq(failed, 0, "every change was made");
	munmap(enclave_tcs(&enclave, 1), PAGE);
	settle(1000);
	ioctl(enclave.fd, ENCLU_SGX_IOC_DROP_EPC);
	for (long before = faults; faults < before + 100; )
		usleep(50);
	stop = true;
	join(threads);
	ok_eq(wrong, 0, "every entry was right, or faulted for a reason");
	ok(right > 100 * rounds, "%ld were right, %ld faulted", right, faults);
	return done();
}
