#define _GNU_SOURCE
#include "host.h"

#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "_cgo_export.h"
#include "pair.h"

static struct sgx_runtime *runtime;
static struct sgx_enclave enclave;

void host_start(void)
{
	runtime = open_runtime("a");
	must_start(runtime);
	must_load(runtime, &enclave, "enclaves/basic.elf");
}

void host_observe(int condition, char *what)
{
	ok(condition, "%s", what);
}

void host_finish(void)
{
	finish();
}

int host_raise(unsigned int tcs, int what)
{
	static const struct step raising[] = {
		[RAISE_UD] = { STEP_UD, 0, 0, 0 },
		[RAISE_NULL] = { STEP_READ, 8, 0, 0 },
		[RAISE_GP] = { STEP_GP, 0, 0, 0 },
		[RAISE_DE] = { STEP_DIVIDE, 1, 0, 0 },
	};
	struct step steps[] = { raising[what], { STEP_END, 0, 0, 0 } };
	struct pair pair = { .runtime = runtime, .enclave = enclave };

	if (pair_run(&pair, tcs, steps, NULL, 0) != EFAULT || pair.times != 1)
		return -1;
	return runtime->reset(&enclave, sgx_tcs(&enclave, tcs)) ? -1 : pair.told.vector;
}

static uint64_t into_go(void *context, void *argument)
{
	(void)context;
	return inOcall((uint64_t)argument);
}

uint64_t host_call(uint64_t argument)
{
	static const sgx_ocall ocalls[] = { into_go };
	struct step steps[] = { { STEP_OCALL, 0, argument, 0 }, { STEP_END, 0, 0, 0 } };
	struct pair pair = { .runtime = runtime, .enclave = enclave };

	return pair_run(&pair, 0, steps, ocalls, 1) ? UINT64_MAX : steps[0].result;
}

int host_spin(unsigned int tcs, struct spin *spin)
{
	struct step steps[] = { { STEP_SPIN, (uint64_t)&spin->stop, (uint64_t)&spin->started, 0 }, { STEP_END, 0, 0, 0 } };
	struct pair pair = { .runtime = runtime, .enclave = enclave };

	spin->tid = gettid();
	return pair_run(&pair, tcs, steps, NULL, 0);
}

struct spin *host_new_spin(void)
{
	return calloc(1, sizeof(struct spin));
}

int host_send_sigurg(struct spin *spin)
{
	return syscall(SYS_tgkill, getpid(), spin->tid, SIGURG) ? errno : 0;
}
