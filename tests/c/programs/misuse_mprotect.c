/* Misuse: the host makes code of the enclave writable. */
#include "enclave.h"

int main(void)
{
	struct enclave enclave;

	enclave_load(&enclave, NULL);
	return mprotect(enclave.base + enclave.text, PAGE, PROT_READ | PROT_WRITE) != 0;
}
