/* The vdso-jmp design: threads enter and leave while the jump behind the ENCLU comes and goes; each meets one of both. */
#include "fault.h"

#include <pthread.h>

#define THREADS 3
#define ROUNDS 40

static struct enclave enclave;
static uint8_t *function;
static volatile bool stop, failed;
static volatile int met[THREADS][3];

static void *enter(void *number)
{
	long i = (long)number;

	while (!stop) {
		struct request add = { .op = OP_ADD, .a = i, .b = 100 };
		struct raw_fault fault;
		int result = raw_enter_at(EENTER, enclave_tcs(&enclave, i), &add, &fault, function);

		failed |= result == MET_HANDLER || add.result != (uint64_t)i + 100;
		met[i][result]++;
	}
	return NULL;
}

/* jmp *0(%rip); .quad raw_returned, within reach of the vDSO */
static void *trampoline(void)
{
	static const uint8_t jump[] = { 0xff, 0x25, 0, 0, 0, 0 };
	uint8_t *place = mmap((uint8_t *)((uint64_t)function & -PAGE) + 0x100000, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	uint64_t back = (uint64_t)raw_returned;

	memcpy(place, jump, sizeof(jump));
	memcpy(place + sizeof(jump), &back, 8);
	return place;
}

/* Until every thread has met `what` once more. */
static void wait_for_all(enum met what)
{
	int before[THREADS];

	for (int i = 0; i < THREADS; i++)
		before[i] = met[i][what];
	for (int i = 0; i < THREADS; i++)
		while (met[i][what] == before[i])
			usleep(100);
}

int main(void)
{
	struct enclu_sgx_vdso_target arguments;
	pthread_t threads[THREADS];
	int failures = 0;

	handle(SIGILL, leave_by_signal);
	enclave_load(&enclave, NULL);
	function = vdso_symbol("__vdso_sgx_enter_enclave");
	arguments = (struct enclu_sgx_vdso_target){ .target = (uint64_t)trampoline() };
	for (long i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, enter, (void *)i);
	for (int round = 0; round < ROUNDS; round++) {
		failures += ioctl(enclave.fd, ENCLU_SGX_IOC_SET_VDSO_TARGET, &arguments) != 0;
		wait_for_all(MET_NOTHING);
		failures += ioctl(enclave.fd, ENCLU_SGX_IOC_CLEAR_VDSO_TARGET, 0) != 0;
		wait_for_all(MET_SIGNAL);
	}
	stop = true;
	ok_eq(failures, 0, "the ioctls succeeded");
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	ok(!failed, "the threads met exits by the jump and signals only");
	return done();
}
