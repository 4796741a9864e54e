/*
 * A host program: loads an enclave, lets it add two numbers, then lets it fail, and prints how it learned of that.
 * It can do with every design of `enclu run --delivery`.
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

static void by_vdso_2018(void *tcs, struct request *request)
{
	enclu_vdso_2018_enter_enclave_t enter = (enclu_vdso_2018_enter_enclave_t)vdso_symbol("__vdso_sgx_enter_enclave");
	struct enclu_sgx_enclave_exception info;
	int result = enter(tcs, request, &info);

	if (result)
		printf("  the vDSO returned %d: leaf %u (ERESUME), trap number %u, error code %#x, address %#llx\n", result,
		       info.leaf, info.trapnr, info.error_code, (unsigned long long)info.address);
}

/* Code within reach of a jump in the vDSO, which the program's own is not: jmp *0(%rip); .quad target */
static void *trampoline(uint8_t *vdso, void *target)
{
	static const uint8_t jump[] = { 0xff, 0x25, 0, 0, 0, 0 };
	uint8_t *place = mmap((uint8_t *)((uint64_t)vdso & -PAGE) + 0x100000, PAGE, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	memcpy(place, jump, sizeof(jump));
	memcpy(place + sizeof(jump), &target, sizeof(target));
	mprotect(place, PAGE, PROT_READ | PROT_EXEC);
	return place;
}

/* Tells the kernel where to go on, by the ioctl of the design; the ENCLU to enter by. */
static void *register_handler(const char *design, int fd)
{
	struct enclu_sgx_mm_handler mm = { .handler = (uint64_t)raw_faulted };
	struct enclu_sgx_thread_handler thread = { .handler = (uint64_t)raw_faulted };
	struct enclu_sgx_range_handler range = { .start = (uint64_t)raw_direct_enclu, .length = 3,
		.handler = (uint64_t)raw_faulted };
	struct enclu_sgx_vdso_target jump;
	void *enclu = raw_direct_enclu;
	int result = -1;

	if (!strcmp(design, "mm-handler"))
		result = ioctl(fd, ENCLU_SGX_IOC_REGISTER_MM_HANDLER, &mm);
	else if (!strcmp(design, "thread-handler"))
		result = ioctl(fd, ENCLU_SGX_IOC_REGISTER_THREAD_HANDLER, &thread);
	else if (!strcmp(design, "range-handler"))
		result = ioctl(fd, ENCLU_SGX_IOC_REGISTER_RANGE_HANDLER, &range);
	else if (!strcmp(design, "vdso-jmp")) {
		enclu = vdso_symbol("__vdso_sgx_enter_enclave");
		jump = (struct enclu_sgx_vdso_target){ .target = (uint64_t)trampoline(enclu, raw_returned) };
		result = ioctl(fd, ENCLU_SGX_IOC_SET_VDSO_TARGET, &jump);
	}
	if (result)
		perror("registering the handler");
	return enclu;
}

static void by_handler(void *tcs, struct request *request, void *enclu)
{
	struct raw_fault fault;

	if (raw_enter_at(EENTER, tcs, request, &fault, enclu) == RAW_FAULTED)
		printf("  the handler went on: RAX %llu (ERESUME), RDI (vector) %llu, RSI (error code) %#llx, RDX (address) %#llx\n",
		       (unsigned long long)fault.leaf, (unsigned long long)fault.vector, (unsigned long long)fault.error,
		       (unsigned long long)fault.address);
}

int main(void)
{
	struct request requests[] = { { .op = OP_ADD, .a = 40, .b = 2 }, { .op = OP_UD2 } };
	const char *design = delivery();
	struct enclave enclave;
	void *enclu = NULL, *tcs;

	printf("%s\n", design);
	enclave_load(&enclave, NULL);
	tcs = enclave_tcs(&enclave, 0);
	for (int i = 0; i < 2; i++) {
		if (i)
			printf("  the enclave executes UD2:\n");
		if (!strcmp(design, "signal"))
			by_signal(tcs, &requests[i]);
		else if (!strcmp(design, "vdso"))
			by_vdso(tcs, &requests[i]);
		else if (!strcmp(design, "vdso-2018"))
			by_vdso_2018(tcs, &requests[i]);
		else {
			if (!enclu)
				enclu = register_handler(design, enclave.fd);
			by_handler(tcs, &requests[i], enclu);
		}
		if (!i)
			printf("  the enclave adds 40 and 2: %llu\n", (unsigned long long)requests[0].result);
	}
	enclave_unload(&enclave);
	return requests[0].result != 42;
}
