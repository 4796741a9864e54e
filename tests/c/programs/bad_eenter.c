/* EENTER of what is not a TCS that may be entered faults, and the program goes on. */
#include "enclave.h"

#include <pthread.h>

static struct enclave enclave;
static volatile uint32_t flag;

static void *spin(void *unused)
{
	struct request request = { .op = OP_SPIN, .a = (uint64_t)&flag };

	(void)unused;
	enclave_call(enclave_tcs(&enclave, 0), &request, NULL);
	return NULL;
}

static void expect(const char *name, void *tcs, int vector)
{
	struct request request = { .op = OP_NOP };
	struct sgx_enclave_run run;

	printf("# %s\n", name);
	ok_eq(enclave_call(tcs, &request, &run), 0, "the vDSO returns 0");
	ok_eq(run.function, EENTER, "EENTER itself faulted");
	ok_eq(run.exception_vector, vector, "vector");
}

int main(void)
{
	struct enclave_options raw = { .no_init = true };
	struct enclave other;
	pthread_t thread;
	char *plain = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	*plain = 1;
	enclave_load(&enclave, NULL);
	enclave_load(&other, &raw);
	expect("not aligned", (uint8_t *)enclave_tcs(&enclave, 0) + 8, 13);
	expect("ordinary memory", plain, 14);
	expect("regular page of the enclave", enclave.base + enclave.data, 14);
	expect("nothing there", (void *)0x1000, 14);
	expect("enclave not initialised", enclave_tcs(&other, 0), 13);
	pthread_create(&thread, NULL, spin, NULL);
	usleep(200000);
	expect("TCS in use", enclave_tcs(&enclave, 0), 13);
	flag = 1;
	pthread_join(thread, NULL);
	return done();
}
