/* An enclave belongs to an open file: each open makes another one, a duplicate of the descriptor is the same one. */
#include "enclave.h"

static int create(int fd, uint64_t base)
{
	static struct { uint64_t size, base; uint32_t frame, misc; uint64_t reserved[3], attributes, xfrm, rest[504]; } secs;
	struct sgx_enclave_create arguments = { .src = (uint64_t)&secs };

	secs.size = 2 * PAGE;
	secs.base = base;
	secs.frame = 1;
	secs.attributes = 4;
	secs.xfrm = 3;
	return ioctl(fd, SGX_IOC_ENCLAVE_CREATE, &arguments) ? errno : 0;
}

int main(void)
{
	int first = open("/dev/sgx_enclave", O_RDWR), second = open("/dev/sgx_enclave", O_RDWR), copy = dup(first), status;
	struct request request = { .op = OP_ADD, .a = 1, .b = 2 };
	struct enclave enclave;
	pid_t child;

	ok_eq(create(first, 0x10000000), 0, "CREATE");
	ok_eq(create(second, 0x20000000), 0, "CREATE by another open file");
	ok_eq(create(copy, 0x30000000), EINVAL, "CREATE by a duplicate: it is the same enclave");
	close(first);
	ok_eq(create(copy, 0x30000000), EINVAL, "the duplicate outlives the original");
	ok_eq(fcntl(copy, F_DUPFD, 700), 700, "F_DUPFD");
	ok_eq(create(700, 0x30000000), EINVAL, "the same enclave");
	fflush(stdout);
	child = fork();
	if (!child)
		_exit(create(copy, 0x30000000) == EINVAL && create(open("/dev/sgx_enclave", O_RDWR), 0x30000000) == 0 ? 42 : 1);
	waitpid(child, &status, 0);
	ok_eq(status, 42 << 8, "the same in a forked child, which can open its own");

	enclave_load(&enclave, NULL);
	close(enclave.fd);
	expect_exit("a mapped enclave needs no descriptor", attempt(enclave_tcs(&enclave, 0), &request, EENTER));
	ok_eq(open("/dev/sgx_enclave", O_RDWR), enclave.fd, "the descriptor's number is used again");
	ok_eq(create(enclave.fd, 0x40000000), 0, "and means another enclave");
	expect_exit("the mapped one is still there", attempt(enclave_tcs(&enclave, 0), &request, EENTER));
	ok_eq(request.result, 3, "result");
	return done();
}
