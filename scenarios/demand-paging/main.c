#include "pages.h"
#include "scenario.h"

#include <pthread.h>

enum { THREADS = 2, EACH = 8 };

static struct sgx_runtime *runtime;
static struct sgx_enclave enclave;

struct worker {
	pthread_t thread;
	unsigned int index;
	int error;
	uint64_t sum;
	unsigned int told, wrong;
};

static enum sgx_decision on_exception(void *context, const struct sgx_exception *exception)
{
	struct worker *worker = context;
	uint64_t page = (uint64_t)enclave.base + enclave.spare + (worker->index * EACH + worker->told) * SGX_PAGE;

	worker->told++;
	worker->wrong += exception->leaf != ERESUME || exception->vector != 14 || exception->address != page ||
			 exception->error_code != 0x8007;
	return SGX_HANDLE;
}

static void *work(void *argument)
{
	struct worker *worker = argument;
	struct range range = { enclave.base + enclave.spare + worker->index * EACH * SGX_PAGE, EACH };
	struct sgx_host host = { .exception = on_exception, .context = worker };

	worker->error = runtime->call(&enclave, sgx_tcs(&enclave, worker->index), PAGES_FILL, &range, &host, &worker->sum, NULL);
	return NULL;
}

int main(void)
{
	struct worker workers[THREADS] = { { .index = 0 }, { .index = 1 } };
	uint64_t accepted = 0;

	runtime = open_runtime("a");
	must_start(runtime);
	must_load(runtime, &enclave, "demand-paging/pages.elf");
	for (int i = 0; i < THREADS; i++)
		pthread_create(&workers[i].thread, NULL, work, &workers[i]);
	for (int i = 0; i < THREADS; i++)
		pthread_join(workers[i].thread, NULL);
	ok(workers[0].told && !workers[0].wrong, "the host is told of a #PF that the EPCM raised");
	refused_if(workers[0].error, "resuming an enclave that has accepted a page");
	for (int i = 0; i < THREADS; i++) {
		ok_eq(workers[i].told, EACH, "thread %d: the host is told of each page", i);
		ok_eq(workers[i].wrong, 0, "thread %d: at its address, and of nothing else", i);
		ok_eq(workers[i].sum, SGX_PAGE * EACH * (EACH + 1) / 2, "thread %d: the pages hold what was written", i);
	}
	ok_eq(runtime->call(&enclave, sgx_tcs(&enclave, 0), PAGES_ACCEPTED, NULL, NULL, &accepted, NULL), 0, "afterwards");
	ok_eq(accepted, THREADS * EACH, "the enclave has accepted each page once");
	work(&workers[0]);
	ok_eq(workers[0].told, EACH, "pages that are there raise no exception");
	finish();
}
