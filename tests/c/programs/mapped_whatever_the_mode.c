/* A difference from Linux, where it is EACCES: the device is mapped to write though it was opened to be read only, and to
 * read though it was opened to be written only. */
#include "enclave.h"

static bool maps(int flags, int prot)
{
	int fd = open("/dev/sgx_enclave", flags);
	void *got = mmap(NULL, PAGE, prot, MAP_SHARED, fd, 0);

	close(fd);
	return got != MAP_FAILED && munmap(got, PAGE) == 0;
}

int main(void)
{
	ok(maps(O_RDONLY, PROT_READ | PROT_WRITE), "opened to be read only");
	ok(maps(O_WRONLY, PROT_READ), "opened to be written only");
	return done();
}
