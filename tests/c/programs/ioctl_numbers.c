/* Numbers that are no ioctl of the device, and ioctls of another size, are ENOTTY; /dev/sgx_provision has none at all. */
#include "enclave.h"

static int failure(int fd, unsigned long number)
{
	static uint8_t argument[4096];

	return ioctl(fd, number, argument) ? errno : 0;
}

int main(void)
{
	static const unsigned long known[] = { SGX_IOC_ENCLAVE_CREATE, SGX_IOC_ENCLAVE_ADD_PAGES, SGX_IOC_ENCLAVE_INIT,
		SGX_IOC_ENCLAVE_PROVISION, SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS, SGX_IOC_ENCLAVE_MODIFY_TYPES,
		SGX_IOC_ENCLAVE_REMOVE_PAGES };
	int provision = open("/dev/sgx_provision", O_RDWR), wrong = 0;
	struct enclave enclave;

	ok(provision >= 0, "/dev/sgx_provision opens");
	enclave_load(&enclave, NULL);
	for (int i = 0; i < 7; i++) {
		unsigned long number = known[i], size = _IOC_SIZE(number);

		ok_eq(failure(enclave.fd, number + (8ul << _IOC_SIZESHIFT)), ENOTTY, "of a larger size");
		ok_eq(failure(enclave.fd, number - (size << _IOC_SIZESHIFT)), ENOTTY, "of size 0");
		ok_eq(failure(enclave.fd, number ^ ((unsigned long)_IOC_READ << _IOC_DIRSHIFT)), ENOTTY, "of another direction");
		ok_eq(failure(provision, number), ENOTTY, "of /dev/sgx_provision");
	}
	for (int i = 8; i < 256; i++)
		wrong += failure(enclave.fd, _IOWR(0xa4, i, uint64_t)) != ENOTTY;
	wrong += failure(enclave.fd, _IO(0xa4, 4)) != ENOTTY;
	ok_eq(wrong, 0, "numbers from 8 up, and 4");
	ok_eq(failure(enclave.fd, 0x5401 /* TCGETS */), ENOTTY, "an ioctl of terminals");
	return done();
}
