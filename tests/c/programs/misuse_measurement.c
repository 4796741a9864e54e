/* Misuse: the SIGSTRUCT is of an enclave with fewer pages. */
#include "enclave.h"

int main(void)
{
	struct enclave_options larger = { .no_init = true, .heap_pages = 1 }, smaller = { .no_init = true };
	struct enclave enclave, other;

	enclave_load(&enclave, &larger);
	enclave_load(&other, &smaller);
	memcpy(enclave.sigstruct, other.sigstruct, sizeof(enclave.sigstruct));
	return enclave_init(&enclave) != 0;
}
