/*
 * A host program: loads an enclave, lets it add two numbers, then lets it fail, and prints how it learned of that.
 * Usage: host signal|vdso|mm-handler, under `enclu run --delivery` of the same name.
 */
#include "enclave.h"

#include "enclu_sgx.h"

static volatile bool stopped;

static void on_sigill(int signo, siginfo_t *info, void *context)
{
	greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;

	(void)info;
	stopped = true;
	printf("  signal %d (%s), trap number %lld, RAX %lld (ERESUME), RIP at the AEP: %s\n", signo, strsignal(signo),
	       registers[REG_TRAPNO], registers[REG_RAX], (uint64_t)registers[REG_RIP] == (uint64_t)raw_once_aep ? "yes" : "no");
}

static void by_signal(void *tcs, struct request *request)
{
	struct raw_fault fault;
	int result;

	handle(SIGILL, on_sigill);
	/* An exit may also be an interrupt, or a page fault that the kernel resolved: then ERESUME. */
	result = raw_enter_once(EENTER, tcs, request, &fault);
	while (result == RAW_AEX && !stopped)
		result = raw_enter_once(ERESUME, tcs, request, &fault);
}

static void by_vdso(void *tcs, struct request *request)
{
	struct sgx_enclave_run run;
	int result = enclave_call(tcs, request, &run);

	if (run.function != EEXIT)
		printf("  the vDSO returned %d: function %u (ERESUME), vector %u, error code %#x, address %#llx\n", result,
		       run.function, run.exception_vector, run.exception_error_code, (unsigned long long)run.exception_addr);
}

static void by_mm_handler(void *tcs, struct request *request, int fd)
{
	struct enclu_sgx_mm_handler handler = { .handler = (uint64_t)raw_faulted };
	struct raw_fault fault;

	if (ioctl(fd, ENCLU_SGX_IOC_REGISTER_MM_HANDLER, &handler))
		perror("registering the handler");
	if (raw_enter_direct(EENTER, tcs, request, &fault) == RAW_FAULTED)
		printf("  the handler went on: RAX %llu (ERESUME), RDI (vector) %llu, RSI (error code) %#llx, RDX (address) %#llx\n",
		       (unsigned long long)fault.leaf, (unsigned long long)fault.vector, (unsigned long long)fault.error,
		       (unsigned long long)fault.address);
}

static void enter(const char *design, struct enclave *enclave, struct request *request)
{
	void *tcs = enclave_tcs(enclave, 0);

	if (!strcmp(design, "signal"))
		by_signal(tcs, request);
	else if (!strcmp(design, "vdso"))
		by_vdso(tcs, request);
	else
		by_mm_handler(tcs, request, enclave->fd);
}

int main(int argc, char **argv)
{
	struct request add = { .op = OP_ADD, .a = 40, .b = 2 }, fail = { .op = OP_UD2 };
	const char *design = argc > 1 ? argv[1] : "vdso";
	struct enclave enclave;

	printf("%s\n", design);
	enclave_load(&enclave, NULL);
	enter(design, &enclave, &add);
	printf("  the enclave adds 40 and 2: %llu\n", (unsigned long long)add.result);
	printf("  the enclave executes UD2:\n");
	enter(design, &enclave, &fail);
	enclave_unload(&enclave);
	return add.result != 42;
}
