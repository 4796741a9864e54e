/* The mm-handler design: what a second registration and unregistering meet depends on the design's setting. */
#include "fault.h"

static struct enclave enclave;

static int add(void *handler)
{
	struct enclu_sgx_mm_handler arguments = { .handler = (uint64_t)handler };

	return ioctl(enclave.fd, ENCLU_SGX_IOC_REGISTER_MM_HANDLER, &arguments) ? errno : 0;
}

static int del(void) { return ioctl(enclave.fd, ENCLU_SGX_IOC_UNREGISTER_MM_HANDLER, 0) ? errno : 0; }

int main(void)
{
	enclave_load(&enclave, NULL);
	printf("first %d\n", add(raw_once_aep));
	printf("second %d\n", add(raw_faulted));
	printf("met %d\n", meet_ud2(&enclave, raw_direct_enclu, NULL));
	printf("unregister %d\n", del());
	printf("unregister %d\n", del());
	printf("third %d\n", add(raw_faulted));
	return 0;
}
