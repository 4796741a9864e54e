/* The mm-handler design: a registered handler gets exceptions of raw ENCLU and of enclaves. */
#include "enclave.h"

#include "enclu_sgx.h"

static struct enclave enclave;

static int register_handler(uint64_t handler)
{
	struct enclu_sgx_mm_handler arguments = { .handler = handler };

	return ioctl(enclave.fd, ENCLU_SGX_IOC_REGISTER_MM_HANDLER, &arguments) ? errno : 0;
}

int main(void)
{
	struct request request = { .op = OP_UD2 }, skip = { .op = OP_FIX_RIP, .a = 2 };
	struct raw_fault fault = { 0 };

	enclave_load(&enclave, NULL);
	ok_eq(register_handler(0), EINVAL, "no handler: EINVAL");
	ok_eq(register_handler(1ull << 63), EINVAL, "not a user address: EINVAL");
	ok_eq(ioctl(enclave.fd, ENCLU_SGX_IOC_UNREGISTER_MM_HANDLER, 0) ? errno : 0, ENOENT, "nothing to unregister: ENOENT");
	ok_eq(register_handler((uint64_t)raw_faulted), 0, "registered");
	ok_eq(raw_enter_direct(EENTER, enclave_tcs(&enclave, 0), &request, &fault), RAW_FAULTED, "handler called");
	ok_eq(fault.leaf, ERESUME, "leaf ERESUME: the enclave faulted");
	ok_eq(fault.vector, 6, "vector");
	ok_eq(fault.error, 0, "error code");
	ok_eq(fault.rbx, (uint64_t)enclave_tcs(&enclave, 0), "RBX is the TCS");
	ok_eq(fault.rcx, (uint64_t)raw_direct_enclu, "RCX is the AEP");
	ok_eq(raw_enter_direct(EENTER, enclave_tcs(&enclave, 0), &skip, &fault), RAW_EXITED, "handler in the enclave");
	ok_eq(raw_enter_direct(ERESUME, enclave_tcs(&enclave, 0), &request, &fault), RAW_EXITED, "resumed after UD2");
	ok_eq(raw_enter_direct(EENTER, enclave.base + enclave.data, &request, &fault), RAW_FAULTED, "EENTER of no TCS");
	ok_eq(fault.leaf, EENTER, "leaf EENTER: ENCLU itself faulted");
	ok_eq(fault.vector, 14, "vector #PF");
	ok_eq(fault.address, (uint64_t)enclave.base + enclave.data, "address");
	ok_eq(ioctl(enclave.fd, ENCLU_SGX_IOC_UNREGISTER_MM_HANDLER, 0), 0, "unregistered");
	return done();
}
