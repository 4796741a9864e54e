/* A TCS is trimmed while a thread is inside by it: the thread leaves by an AEX and cannot resume. */
#include "enclave.h"

int main(void)
{
	struct enclave enclave;
	struct spinner spinner;
	struct request request = { .op = OP_ADD, .a = 1, .b = 2 };
	struct sgx_enclave_modify_types trim = { .offset = 2 * PAGE, .length = PAGE, .page_type = 4 };
	struct sgx_enclave_remove_pages removal = { .offset = 2 * PAGE, .length = PAGE };
	void *tcs;

	enclave_load(&enclave, NULL);
	tcs = enclave_tcs(&enclave, 2);
	spinner_start(&spinner, tcs);
	ok_eq(ioctl(enclave.fd, SGX_IOC_ENCLAVE_MODIFY_TYPES, &trim), 0, "trimmed");
	expect_fault("ERESUME", spinner_join(&spinner), ERESUME, 14, 0x8005, (uint64_t)tcs);
	ok_eq(ask(enclave_tcs(&enclave, 0), OP_EACCEPT, (uint64_t)tcs, PT_TRIM_FLAGS | 0x10, 0), 0, "accepted by another thread");
	ok_eq(ioctl(enclave.fd, SGX_IOC_ENCLAVE_REMOVE_PAGES, &removal), 0, "removed");
	expect_exit("another TCS works", attempt(enclave_tcs(&enclave, 0), &request, EENTER));
	return done();
}
