/*
 * Ioctls 0x20 to 0x2f with arguments of all kinds, from several threads, which fork, call vfork and exec, map and unmap
 * meanwhile.  What comes back is 0 or an errno, and afterwards the machine works.
 *
 * design_ioctls_fuzzed SEED CALLS THREADS: CALLS in all threads together, besides those of children.
 */
#include "fault.h"

enum { EACH_CHILD = 8, EVERY = 64 };	/* calls of a child; calls between two events */

static const unsigned long known[] = {
	ENCLU_SGX_IOC_GET_DELIVERY, ENCLU_SGX_IOC_DROP_EPC, ENCLU_SGX_IOC_DEBUG_ACCESS, ENCLU_SGX_IOC_REGISTER_MM_HANDLER,
	ENCLU_SGX_IOC_UNREGISTER_MM_HANDLER, ENCLU_SGX_IOC_SET_VDSO_TARGET, ENCLU_SGX_IOC_CLEAR_VDSO_TARGET,
	ENCLU_SGX_IOC_REGISTER_THREAD_HANDLER, ENCLU_SGX_IOC_UNREGISTER_THREAD_HANDLER,
	ENCLU_SGX_IOC_REGISTER_RANGE_HANDLER, ENCLU_SGX_IOC_UNREGISTER_RANGE_HANDLER, ENCLU_SGX_IOC_STEP,
	ENCLU_SGX_IOC_STEPPED, ENCLU_SGX_IOC_CHECKPOINT, ENCLU_SGX_IOC_INSIDE,
};
#define KNOWN (sizeof(known) / sizeof(known[0]))

struct worker {
	pthread_t thread;
	uint64_t state;
	unsigned long calls, wrong, succeeded;
	uint8_t *pages;		/* one that may be written, one to be read only, one that is not there */
};

static int device;
static unsigned long calls_of_each;
static struct enclave enclave;

static uint64_t draw(struct worker *worker)
{
	worker->state ^= worker->state << 13;
	worker->state ^= worker->state >> 7;
	worker->state ^= worker->state << 17;
	return worker->state;
}

static uint64_t word(struct worker *worker)
{
	uint64_t vdso = (uint64_t)vdso_symbol("__vdso_time") & -PAGE;
	uint64_t interesting[] = { 0, 1, 3, PAGE, (uint64_t)raw_faulted, (uint64_t)raw_direct_enclu, (uint64_t)worker->pages,
		(uint64_t)worker->pages + 2 * PAGE, (uint64_t)enclave.base, vdso, vdso + 0x10000, (1ul << 47) - PAGE,
		(1ul << 47) - PAGE - 1, 1ul << 63, ~0ul };
	uint64_t random = draw(worker);

	switch (random % 4) {
	case 0:
		return draw(worker);
	case 1:
		return draw(worker) % (1ul << 47);
	default:
		return interesting[(random >> 8) % (sizeof(interesting) / sizeof(interesting[0]))];
	}
}

static unsigned long command(struct worker *worker)
{
	uint64_t random = draw(worker);

	if (random % 4)
		return known[(random >> 8) % KNOWN];
	return _IOC((random >> 8) % 4, ENCLU_SGX_MAGIC, 0x20 + (random >> 16) % 16, (random >> 24) % 64);
}

static uint64_t argument(struct worker *worker)
{
	uint64_t random = draw(worker), *fields = (uint64_t *)worker->pages + (random >> 8) % 8;

	for (int i = 0; i < 5; i++)
		fields[i] = i == 4 || draw(worker) % 3 ? word(worker) : 0;
	switch (random % 8) {
	case 0:
		return word(worker);
	case 1:
		return (uint64_t)worker->pages + PAGE;
	case 2:
		return (uint64_t)worker->pages + 2 * PAGE - (random >> 16) % 40;
	case 3:
		return (uint64_t)fields + (random >> 16) % 8;
	default:
		return (uint64_t)fields;
	}
}

static bool expected(int error)
{
	static const int errors[] = { EFAULT, EINVAL, EBUSY, ENOENT, EEXIST, ENOSPC, ENOTTY };

	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
		if (errors[i] == error)
			return true;
	return false;
}

static void call(struct worker *worker)
{
	unsigned long number = command(worker);
	long result = ioctl(device, number, argument(worker));
	bool is_known = false;

	for (size_t i = 0; i < KNOWN; i++)
		is_known |= known[i] == number;
	worker->calls++;
	worker->succeeded += result == 0;
	worker->wrong += !(result == 0 ? is_known : result == -1 && expected(errno));
}

/* Calls of a child in its copy of the process, or in a new program. */
static bool child_is_right(struct worker *worker)
{
	char seed[24], *again[] = { "/proc/self/exe", seed, "8", "1", "child", NULL };
	uint64_t kind = draw(worker) % 4;
	int status;
	pid_t child;

	snprintf(seed, sizeof(seed), "%lu", draw(worker) % 1000000);
	child = kind == 0 ? vfork() : fork();
	if (child == 0) {
		if (kind < 2)
			execv(again[0], again);
		else
			for (int i = 0; i < EACH_CHILD; i++)
				call(worker);
		_exit(kind < 2 || worker->wrong);
	}
	return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

/* Ranges of code that are registered may be among these. */
static void map_and_unmap(struct worker *worker)
{
	uint8_t *page = mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct enclu_sgx_range_handler range = { (uint64_t)page, PAGE, (uint64_t)raw_faulted, 0 };

	ioctl(device, ENCLU_SGX_IOC_REGISTER_RANGE_HANDLER, &range);
	worker->calls++;
	munmap(page, PAGE);
}

static void *work(void *argument)
{
	struct worker *worker = argument;

	while (worker->calls < calls_of_each) {
		call(worker);
		if (draw(worker) % EVERY == 0)
			worker->wrong += !child_is_right(worker);
		if (draw(worker) % EVERY == 0)
			map_and_unmap(worker);
	}
	return NULL;
}

static uint8_t *pages(void)
{
	uint8_t *area = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	mprotect(area + PAGE, PAGE, PROT_READ);
	munmap(area + 2 * PAGE, PAGE);
	return area;
}

/* In a process where nothing is registered: an enclave is built and entered, as always. */
static int after_all(void)
{
	struct request request = { .op = OP_ADD, .a = 40, .b = 2 };

	enclave_load(&enclave, NULL);
	return attempt(enclave_tcs(&enclave, 0), &request, EENTER).function != EEXIT || request.result != 42;
}

int main(int argc, char **argv)
{
	struct worker workers[8] = { 0 };
	unsigned long calls = 0, wrong = 0, succeeded = 0;
	int threads;

	if (argc == 2)
		return after_all();
	threads = atoi(argv[3]);
	calls_of_each = strtoul(argv[2], NULL, 10) / threads;
	device = open("/dev/sgx_enclave", O_RDWR);
	if (argc == 4)
		enclave_load(&enclave, NULL);
	for (int i = 0; i < threads; i++) {
		workers[i].state = (strtoul(argv[1], NULL, 10) + 1) * 0x9e3779b97f4a7c15 + i;
		workers[i].pages = pages();
		pthread_create(&workers[i].thread, NULL, work, &workers[i]);
	}
	for (int i = 0; i < threads; i++) {
		pthread_join(workers[i].thread, NULL);
		calls += workers[i].calls;
		wrong += workers[i].wrong;
		succeeded += workers[i].succeeded;
	}
	if (argc > 4)
		return wrong != 0;
	ok_eq(wrong, 0, "0 or an errno comes back from every call");
	ok(succeeded > 0, "some calls succeed");
	ok_eq(in_child(exec_again), 0, "afterwards an enclave can be built and entered");
	printf("# %lu calls\n", calls);
	return done();
}
