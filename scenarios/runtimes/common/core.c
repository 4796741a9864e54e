/* What happens between two entries of an enclave, the same under every design. */
#include "core.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>

static bool started;

int device_ioctl(unsigned long command, void *argument)
{
	static int device = -1;

	if (device < 0)
		device = open("/dev/sgx_enclave", O_RDWR | O_CLOEXEC);
	return device < 0 || ioctl(device, command, argument) ? errno : 0;
}

void entry_of_a_stranger(void)
{
	fprintf(stderr, "runtime %s: an exception at an ENCLU that is not its own\n", RUNTIME_INSTANCE);
	abort();
}

static unsigned int end(struct entry *entry, int status)
{
	entry->status = status;
	return 0;
}

static unsigned int after_exit(struct entry *entry)
{
	struct sgx_call *call = entry->call;

	if (call->exit == EXIT_OCALL) {
		const struct sgx_host *host = entry->host;

		if (!host || call->ocall >= host->ocall_count)
			return end(entry, ENOSYS);
		call->ocall_result = host->ocalls[call->ocall](host->context, (void *)call->ocall_argument);
		call->enter = ENTER_ORET;
		return EENTER;
	}
	if (!entry->depth)
		return end(entry, 0);
	/* The enclave has handled its exception, or would not. */
	entry->call = &entry->calls[--entry->depth];
	return call->result ? ERESUME : end(entry, EFAULT);
}

static unsigned int after_exception(struct entry *entry)
{
	const struct sgx_host *host = entry->host;
	enum sgx_decision decision = SGX_FAIL;

	if (host && host->exception)
		decision = host->exception(host->context, &entry->exception);
	if (decision == SGX_RESUME)
		return entry->exception.leaf;
	/* Of an EENTER that faulted, the enclave knows nothing. */
	if (decision != SGX_HANDLE || entry->exception.leaf != ERESUME || entry->depth + 1 == SGX_SSA_FRAMES)
		return end(entry, EFAULT);
	entry->call = &entry->calls[++entry->depth];
	*entry->call = (struct sgx_call){ .enter = ENTER_EXCEPTION };
	return EENTER;
}

unsigned int entry_event(struct entry *entry, uint64_t leaf, uint64_t vector, uint64_t error_code, uint64_t address)
{
	__asm__ volatile("fninit; fldcw %0; ldmxcsr %1" : : "m"(entry->x87_control), "m"(entry->mxcsr));
	if (leaf == EEXIT)
		return after_exit(entry);
	entry->exception = (struct sgx_exception){ leaf, vector, error_code, address };
	return after_exception(entry);
}

static int start(void)
{
	int error = design.start();

	started = !error;
	return error;
}

static int stop(void)
{
	int error = started ? design.stop() : ENOTCONN;

	started = started && error;
	return error;
}

static int enter(struct entry *entry)
{
	if (!started)
		return ENOTCONN;
	__asm__("fnstcw %0; stmxcsr %1" : "=m"(entry->x87_control), "=m"(entry->mxcsr));
	entry->call = entry->calls;
	design.enter(entry);
	return entry->status;
}

static int call(const struct sgx_enclave *enclave, void *tcs, uint64_t function, void *argument,
		const struct sgx_host *host, uint64_t *result, struct sgx_exception *exception)
{
	struct entry entry = { .tcs = tcs, .host = host, .calls[0] = { ENTER_ECALL, .function = function,
		.argument = (uint64_t)argument } };
	int error = enter(&entry);

	(void)enclave;
	if (result)
		*result = entry.calls[0].result;
	if (exception)
		*exception = entry.exception;
	return error;
}

static int reset(const struct sgx_enclave *enclave, void *tcs)
{
	int error;

	(void)enclave;
	for (;;) {
		struct entry entry = { .tcs = tcs, .calls[0] = { .enter = ENTER_RESET } };

		error = enter(&entry);
		if (error || !entry.calls[0].result)
			return error;
	}
}

__attribute__((visibility("default"))) struct sgx_runtime sgx_runtime = {
	.start = start, .stop = stop, .load = enclave_load, .unload = enclave_unload, .call = call, .reset = reset,
};

__attribute__((constructor)) static void complete(void)
{
	sgx_runtime.design = RUNTIME_DESIGN;
#ifdef PROBE
	sgx_runtime.before = &probe_before;
	sgx_runtime.after = &probe_after;
#endif
}
