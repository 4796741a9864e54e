/* Four threads in one enclave at once; one thread in several enclaves in turn. */
#include "enclave.h"

static struct enclave enclave;
static volatile bool wrong;

static void *work(void *argument)
{
	uint64_t index = (uint64_t)argument;

	for (uint64_t i = 0; i < 300; i++) {
		struct request request = { .op = OP_ADD, .a = index << 32, .b = i };

		struct sgx_enclave_run run = { 0 };

		if (enclave_call(enclave_tcs(&enclave, index), &request, &run) || request.result != request.a + i) {
			printf("# thread %d, entry %d: function %u, vector %u, error code %#x, address base + %#llx\n", (int)index,
			       (int)i, run.function, run.exception_vector, run.exception_error_code,
			       (unsigned long long)run.exception_addr - (unsigned long long)enclave.base);
			wrong = true;
			break;
		}
	}
	return NULL;
}

int main(void)
{
	struct enclave several[3];

	enclave_load(&enclave, NULL);
	at_each_tcs(work);
	ok(!wrong, "four threads, one enclave");
	for (int i = 0; i < 3; i++)
		enclave_load(&several[i], NULL);
	for (int i = 0; i < 30; i++) {
		struct request request = { .op = OP_BASE };

		enclave_call(enclave_tcs(&several[i % 3], i % 4), &request, NULL);
		wrong |= request.result != (uint64_t)several[i % 3].base;
	}
	ok(!wrong, "one thread, three enclaves");
	return done();
}
