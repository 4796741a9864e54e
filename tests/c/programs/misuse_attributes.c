/* Misuse: the SIGSTRUCT is of an enclave without DEBUG, the SECS has it, and the mask says that it matters. */
#include "enclave.h"

int main(void)
{
	struct enclave_options debug = { .no_init = true, .attributes = 2 }, production = { .no_init = true };
	struct enclave enclave, other;

	enclave_load(&enclave, &debug);
	enclave_load(&other, &production);
	memcpy(enclave.sigstruct, other.sigstruct, sizeof(enclave.sigstruct));
	return enclave_init(&enclave) != 0;
}
