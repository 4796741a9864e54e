/* MISCSELECT.EXINFO: a handler in the enclave learns address and error code of #PF and #GP. */
#include "enclave.h"

int main(void)
{
	struct enclave_options options = { .miscselect = 1 };
	struct request write = { .op = OP_WRITE }, skip = { .op = OP_FIX_RIP };
	struct sgx_enclave_run run;
	struct enclave enclave;

	enclave_load(&enclave, &options);
	write.a = (uint64_t)enclave.base + enclave.text + 0x123;
	enclave_call(enclave_tcs(&enclave, 0), &write, &run);
	ok_eq(run.exception_vector, 14, "#PF");
	ok_eq(run.exception_addr, write.a & -PAGE, "the kernel learns the page only");
	enclave_call(enclave_tcs(&enclave, 0), &skip, &run);
	ok_eq(skip.exitinfo, 0x8000030e, "EXITINFO");
	ok_eq(skip.exinfo_address, write.a, "MADDR: the whole address");
	ok_eq(skip.exinfo_error, 7, "ERRCD");
	write.op = OP_GP;
	enclave_call(enclave_tcs(&enclave, 1), &write, &run);
	enclave_call(enclave_tcs(&enclave, 1), &skip, &run);
	ok_eq(skip.exitinfo, 0x8000030d, "EXITINFO of #GP");
	return done();
}
