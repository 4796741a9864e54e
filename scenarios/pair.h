/* An enclave and the runtime that runs it: what most scenarios have several of. */
#ifndef SCENARIOS_PAIR_H
#define SCENARIOS_PAIR_H

#include "enclaves/basic.h"
#include "scenario.h"

struct pair {
	const char *name;
	struct sgx_runtime *runtime;
	struct sgx_enclave enclave;
	struct sgx_exception told;	/* the last that its host was told of */
	unsigned int times;		/* how often it was */
};

static inline enum sgx_decision pair_exception(void *context, const struct sgx_exception *exception)
{
	struct pair *pair = (struct pair *)context;

	pair->told = *exception;
	pair->times++;
	return SGX_FAIL;
}

static inline struct pair new_pair(const char *name, struct sgx_runtime *runtime)
{
	struct pair pair = { .name = name, .runtime = runtime };

	must_load(runtime, &pair.enclave, "enclaves/basic.elf");
	return pair;
}

/* The enclave does the steps at a TCS, with these OCALLs; what call() returns. */
static inline int pair_run(struct pair *pair, unsigned int tcs, struct step *steps, const sgx_ocall *ocalls, size_t count)
{
	struct sgx_host host = { ocalls, count, pair_exception, pair };

	return pair->runtime->call(&pair->enclave, sgx_tcs(&pair->enclave, tcs), BASIC_RUN, steps, &host, NULL, NULL);
}

/* The enclave executes UD2, of which its own host must be told, and gives up. */
static inline bool pair_fault(struct pair *pair, unsigned int tcs)
{
	struct step steps[] = { { STEP_UD, 0, 0, 0 }, { STEP_END, 0, 0, 0 } };
	unsigned int before = pair->times;
	int error = pair_run(pair, tcs, steps, NULL, 0);

	return error == EFAULT && pair->times == before + 1 && pair->told.vector == 6 &&
	       pair->runtime->reset(&pair->enclave, sgx_tcs(&pair->enclave, tcs)) == 0;
}

#endif
