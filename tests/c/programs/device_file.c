/* The device is not a file to change the size of. A difference from Linux, with EINVAL: it can be read and written. */
#include "enclave.h"

#include <sys/sendfile.h>

int main(void)
{
	struct request request = { .op = OP_ADD, .a = 1, .b = 2 };
	struct enclave enclave;
	uint8_t byte;

	enclave_load(&enclave, NULL);
	ok_eq(ftruncate(enclave.fd, 0), -1, "not truncated");
	ok_eq(ftruncate(enclave.fd, 2 * enclave.size), -1, "not extended");
	ok_eq(pread(enclave.fd, &byte, 1, 0), 1, "read (Linux: EINVAL)");
	ok_eq(pwrite(enclave.fd, &byte, 1, enclave.size), -1, "not written behind its end");
	expect_exit("the enclave works", attempt(enclave_tcs(&enclave, 0), &request, EENTER));
	return done();
}
