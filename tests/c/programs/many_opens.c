/* A program that opens the device until it cannot is told why, and what it has opened can be used. */
#include "enclave.h"

#include <sys/resource.h>

int main(void)
{
	struct request request = { .op = OP_ADD, .a = 1, .b = 2 };
	struct rlimit limit;
	struct enclave enclave;
	int first, fd, count = 0;

	enclave_load(&enclave, NULL);
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = 300;
	setrlimit(RLIMIT_NOFILE, &limit);
	first = open("/dev/sgx_enclave", O_RDWR);
	while ((fd = open("/dev/sgx_enclave", O_RDWR)) >= 0)
		count++;
	ok(errno == EMFILE || errno == ENFILE, "too many open files: %s after %d", strerror(errno), count);
	close(first);
	ok_eq(open("/dev/sgx_enclave", O_RDWR), first, "one closed, one opened");
	expect_exit("entered", attempt(enclave_tcs(&enclave, 0), &request, EENTER));
	return done();
}
