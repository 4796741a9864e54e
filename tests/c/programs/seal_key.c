/* Prints the seal key: the same in every run on one machine, for the same signer. */
#include "enclave.h"

int main(void)
{
	static uint8_t request[512], key[16];
	struct enclave enclave;

	enclave_load(&enclave, NULL);
	request[0] = 4;
	request[2] = 2; /* by MRSIGNER */
	ok_eq(ask(enclave_tcs(&enclave, 0), OP_EGETKEY, (uint64_t)request, 0, (uint64_t)key), 0, "EGETKEY");
	printf("# seal key ");
	for (int i = 0; i < 16; i++)
		printf("%02x", key[i]);
	printf("\n");
	return done();
}
