/* Wrong ioctls get the driver's errno and lose nothing. */
#include "enclave.h"

#include <pthread.h>

static int failure(int fd, unsigned long number, void *argument)
{
	return ioctl(fd, number, argument) ? errno : 0;
}

static struct enclave enclave;

static void *many(void *unused)
{
	struct sgx_enclave_add_pages add = { .src = 0x1000, .length = PAGE, .secinfo = 0x1000 };

	(void)unused;
	for (int i = 0; i < 200; i++)
		ioctl(enclave.fd, SGX_IOC_ENCLAVE_ADD_PAGES, &add);
	return NULL;
}

int main(void)
{
	int fd = open("/dev/sgx_enclave", O_RDWR);
	static uint8_t pages[2 * PAGE] __attribute__((aligned(4096)));
	struct { uint64_t flags, reserved[7]; } __attribute__((aligned(64))) secinfo = { .flags = PT_REG_FLAGS | 3 };
	struct sgx_enclave_add_pages add = { .src = (uint64_t)pages, .length = PAGE, .secinfo = (uint64_t)&secinfo };
	struct sgx_enclave_create create = { .src = 8 };
	struct sgx_enclave_init init = { .sigstruct = 8 };
	struct sgx_enclave_restrict_permissions restriction = { .length = PAGE, .permissions = 1 };
	struct enclave_options options = { .no_init = true };
	struct request request = { .op = OP_ADD, .a = 1, .b = 1 };
	pthread_t threads[3];

	ok(fd >= 0, "opened");
	ok_eq(failure(fd, SGX_IOC_ENCLAVE_CREATE, (void *)8), EFAULT, "CREATE, wild argument");
	ok_eq(failure(fd, SGX_IOC_ENCLAVE_CREATE, &create), EFAULT, "CREATE, wild source");
	ok_eq(failure(fd, SGX_IOC_ENCLAVE_ADD_PAGES, &add), EINVAL, "ADD_PAGES before CREATE");
	ok_eq(failure(fd, SGX_IOC_ENCLAVE_INIT, &init), EINVAL, "INIT before CREATE");
	ok_eq(failure(fd, _IO(0xa4, 0x7f), 0), ENOTTY, "unknown ioctl");

	enclave_load(&enclave, &options);
	ok_eq(failure(enclave.fd, SGX_IOC_ENCLAVE_CREATE, &create), EINVAL, "CREATE twice");
	add.offset = enclave.size;
	ok_eq(failure(enclave.fd, SGX_IOC_ENCLAVE_ADD_PAGES, &add), EINVAL, "ADD_PAGES beyond the end");
	add.offset = -PAGE;
	add.length = 2 * PAGE;
	ok_eq(failure(enclave.fd, SGX_IOC_ENCLAVE_ADD_PAGES, &add), EINVAL, "ADD_PAGES, range overflows");
	add.offset = 12;
	add.length = PAGE;
	ok_eq(failure(enclave.fd, SGX_IOC_ENCLAVE_ADD_PAGES, &add), EINVAL, "ADD_PAGES, offset not aligned");
	add.offset = 0;
	ok_eq(failure(enclave.fd, SGX_IOC_ENCLAVE_ADD_PAGES, &add), EBUSY, "ADD_PAGES, page there already");
	ok_eq(failure(enclave.fd, SGX_IOC_ENCLAVE_INIT, &init), EFAULT, "INIT, wild SIGSTRUCT");
	ok_eq(failure(enclave.fd, SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS, &restriction), EINVAL, "SGX2 before INIT");
	for (int i = 0; i < 3; i++)
		pthread_create(&threads[i], NULL, many, NULL);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	ok_eq(enclave_init(&enclave), 0, "INIT after all that");
	ok_eq(enclave_init(&enclave) ? errno : 0, EINVAL, "INIT twice");
	enclave_call(enclave_tcs(&enclave, 0), &request, NULL);
	ok_eq(request.result, 2, "the enclave works");
	return done();
}
