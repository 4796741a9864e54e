#include "pair.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "enclu_sgx.h"

static struct pair pair;
static volatile uint32_t inside, leave;

static void power_event(void)
{
	int device = open("/dev/sgx_enclave", O_RDWR | O_CLOEXEC);

	if (ioctl(device, ENCLU_SGX_IOC_DROP_EPC))
		wrong("the power event: %s", errno_name(errno));
	close(device);
}

static void expect_lost(const struct sgx_exception *exception, uint32_t leaf, unsigned int tcs, const char *what)
{
	ok_eq(exception->leaf, leaf, "%s: the leaf", what);
	ok_eq(exception->vector, 14, "%s: #PF", what);
	ok_eq(exception->error_code, 0x8005, "%s: with the SGX bit", what);
	ok_eq(exception->address, (uint64_t)sgx_tcs(&pair.enclave, tcs), "%s: at the TCS", what);
}

static void expect_cannot_enter(unsigned int tcs)
{
	struct step steps[] = { { STEP_ADD, 40, 2, 0 }, { STEP_END, 0, 0, 0 } };

	ok_eq(pair_run(&pair, tcs, steps, NULL, 0), EFAULT, "an ECALL fails");
	expect_lost(&pair.told, EENTER, tcs, "entering");
}

static void rebuild(void)
{
	pair.runtime->unload(&pair.enclave);
	pair = new_pair("anew", pair.runtime);
	ok(pair_fault(&pair, 0), "the host builds the enclave anew, and is told of its exceptions");
}

static void *spin(void *result)
{
	struct step steps[] = { { STEP_SPIN, (uint64_t)&leave, (uint64_t)&inside, 0 }, { STEP_END, 0, 0, 0 } };

	*(int *)result = pair_run(&pair, 1, steps, NULL, 0);
	return NULL;
}

static void lost_while_inside(void)
{
	pthread_t thread;
	int result = 0;

	pthread_create(&thread, NULL, spin, &result);
	while (!inside)
		usleep(100);
	power_event();
	pthread_join(thread, NULL);
	ok_eq(result, EFAULT, "the ECALL of a thread that is inside fails");
	expect_lost(&pair.told, ERESUME, 1, "resuming");
}

static uint64_t lose(void *context, void *argument)
{
	(void)context, (void)argument;
	power_event();
	return 0;
}

static void lost_during_ocall(void)
{
	static const sgx_ocall ocalls[] = { lose };
	struct step steps[] = { { STEP_OCALL, 0, 0, 0 }, { STEP_END, 0, 0, 0 } };

	ok_eq(pair_run(&pair, 2, steps, ocalls, 1), EFAULT, "an ECALL whose OCALL does not find its way back fails");
	expect_lost(&pair.told, EENTER, 2, "returning from the OCALL");
}

int main(void)
{
	struct sgx_runtime *runtime = open_runtime("a");

	must_start(runtime);
	pair = new_pair("first", runtime);
	ok(pair_fault(&pair, 0), "before, the enclave's exceptions are told");
	lost_while_inside();
	expect_cannot_enter(0);
	rebuild();
	lost_during_ocall();
	expect_cannot_enter(0);
	rebuild();
	finish();
}
