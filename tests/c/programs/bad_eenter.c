/* EENTER of what is not a TCS that may be entered faults, and the program goes on. */
#include "enclave.h"

static void expect(const char *name, void *tcs, int vector, int error)
{
	struct request request = { .op = OP_NOP };

	expect_fault(name, attempt(tcs, &request, EENTER), EENTER, vector, error, vector == 14 ? (uint64_t)tcs : 0);
}

static void *wait_outside(void *unused)
{
	for (;;)
		pause();
	return unused;
}

int main(void)
{
	struct enclave_options raw = { .no_init = true };
	struct enclave enclave, other;
	struct spinner spinner;
	pthread_t outside;
	char *plain = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	*plain = 1;
	enclave_load(&enclave, NULL);
	enclave_load(&other, &raw);
	expect("not aligned", (uint8_t *)enclave_tcs(&enclave, 0) + 8, 13, 0);
	expect("ordinary memory", plain, 14, 0x8005);
	expect("regular page of the enclave", enclave.base + enclave.data, 14, 0x8005);
	expect("nothing there", (void *)0x1000, 14, 4);
	pthread_create(&outside, NULL, wait_outside, NULL);
	expect("no TCS, as a thread that is outside has none", NULL, 14, 4);
	expect("enclave not initialised", enclave_tcs(&other, 0), 13, 0);
	spinner_start(&spinner, enclave_tcs(&enclave, 0));
	expect("TCS in use", enclave_tcs(&enclave, 0), 13, 0);
	spinner.stop = 1;
	expect_exit("its user goes on", spinner_join(&spinner));
	return done();
}
