/* Each exception of an enclave comes back from the vDSO with its vector, error code and address; then goes on. */
#include "enclave.h"

static struct enclave enclave;

static void expect(const char *name, uint64_t op, uint64_t a, int vector, int error, uint64_t address)
{
	struct request request = { .op = op, .a = a }, skip = { .op = OP_FIX_RIP };
	struct sgx_enclave_run run;
	void *tcs = enclave_tcs(&enclave, 0);

	printf("# %s\n", name);
	ok_eq(enclave_call(tcs, &request, &run), 0, "the vDSO returns 0");
	ok_eq(run.function, ERESUME, "after an AEX");
	ok_eq(run.exception_vector, vector, "vector");
	ok_eq(run.exception_error_code, error, "error code");
	ok_eq(run.exception_addr, address, "address");
	/* Inside, at CSSA 1: the frame says the same, where the SDM lists the vector. */
	ok_eq(enclave_call(tcs, &skip, &run), 0, "handler entered");
	ok_eq(skip.cssa, 1, "at CSSA 1");
	if (vector != 14 && vector != 13)
		ok_eq(skip.exitinfo & 0x800000ff, 0x80000000 | vector, "EXITINFO");
	else
		ok_eq(skip.exitinfo >> 31, 0, "EXITINFO not valid without MISCSELECT");
	enclave_unload(&enclave);
	enclave_load(&enclave, NULL);
}

int main(void)
{
	char *hole;

	enclave_load(&enclave, NULL);
	hole = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	munmap(hole, PAGE);
	expect("#UD by UD2", OP_UD2, 0, 6, 0, 0);
	expect("#UD by SYSCALL", OP_SYSCALL, 0, 6, 0, 0);
	expect("#DE", OP_DIV0, 0, 0, 0, 0);
	expect("#GP", OP_GP, 0, 13, 0, 0);
	expect("#MF", OP_X87_FAULT, 0, 16, 0, 0);
	expect("#XM", OP_SIMD_FAULT, 0, 19, 0, 0);
	expect("#PF reading a hole", OP_READ, (uint64_t)hole + 0x128, 14, 4, (uint64_t)hole);
	expect("#PF writing a hole", OP_WRITE, (uint64_t)hole + 0x128, 14, 6, (uint64_t)hole);
	return done();
}
