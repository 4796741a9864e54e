/* Misuse: an enclave is to have a component of XSAVE that no processor has. */
#include "enclave.h"

int main(void)
{
	struct enclave_options options = { .xfrm = 3 | 1ull << 40 };
	struct enclave enclave;

	enclave_load(&enclave, &options);
	return 0;
}
