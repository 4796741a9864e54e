/* The TCS is unmapped while a thread is inside: the AEX still finds it, ERESUME faults until it is mapped again. */
#include "enclave.h"

static volatile uint32_t inside, stop;
static void *tcs;

static void *unmap(void *unused)
{
	while (!inside)
		usleep(100);
	munmap(tcs, PAGE);
	return unused;
}

int main(void)
{
	struct request spin = { .op = OP_SPIN, .a = (uint64_t)&stop, .b = (uint64_t)&inside };
	struct enclave enclave;
	pthread_t thread;

	enclave_load(&enclave, NULL);
	tcs = enclave_tcs(&enclave, 2);
	pthread_create(&thread, NULL, unmap, NULL);
	expect_fault("ERESUME", attempt(tcs, &spin, EENTER), ERESUME, 14, 4, (uint64_t)tcs);
	pthread_join(thread, NULL);
	mmap(tcs, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, enclave.fd, 0);
	stop = 1;
	expect_exit("mapped again and resumed", attempt(tcs, &spin, ERESUME));
	return done();
}
