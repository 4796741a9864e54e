/* Misuse: the enclave asks for the provisioning key, and has not ATTRIBUTES.PROVISIONKEY. */
#include "enclave.h"

int main(void)
{
	static struct { uint16_t keyname; uint8_t rest[510]; } keyrequest __attribute__((aligned(512))) = { .keyname = 1 };
	static uint8_t key[16] __attribute__((aligned(16)));
	struct enclave enclave;

	enclave_load(&enclave, NULL);
	return ask(enclave_tcs(&enclave, 0), OP_EGETKEY, (uint64_t)&keyrequest, 0, (uint64_t)key) != 0;
}
