/* The SSA page is trimmed and removed while a thread is inside: it cannot go on, others can. */
#include "enclave.h"

int main(void)
{
	struct enclave enclave;
	struct spinner spinner;
	struct request request = { .op = OP_ADD, .a = 1, .b = 2 };
	struct sgx_enclave_modify_types trim = { .length = PAGE, .page_type = 4 };
	struct sgx_enclave_remove_pages removal = { .length = PAGE };
	uint8_t *ssa;

	enclave_load(&enclave, NULL);
	ssa = enclave_ssa(&enclave, 1, 0);
	trim.offset = removal.offset = ssa - enclave.base;
	spinner_start(&spinner, enclave_tcs(&enclave, 1));
	ok_eq(ioctl(enclave.fd, SGX_IOC_ENCLAVE_MODIFY_TYPES, &trim), 0, "trimmed");
	expect_fault("the thread had to leave, and cannot come back", spinner_join(&spinner), ERESUME, 14, 0x8007, (uint64_t)ssa);
	ok_eq(ask(enclave_tcs(&enclave, 0), OP_EACCEPT, (uint64_t)ssa, PT_TRIM_FLAGS | 0x10, 0), 0, "accepted by another thread");
	ok_eq(ioctl(enclave.fd, SGX_IOC_ENCLAVE_REMOVE_PAGES, &removal), 0, "removed");
	/* Linux adds a fresh page where none is; it is pending. */
	expect_fault("nor then", attempt(enclave_tcs(&enclave, 1), &request, ERESUME), ERESUME, 14, 0x8007, (uint64_t)ssa);
	expect_exit("its second frame is still good", attempt(enclave_tcs(&enclave, 1), &request, EENTER));
	ok_eq(request.cssa, 1, "at CSSA 1");
	return done();
}
