/* Misuse: pages that the enclave has as read-write are mapped executable, too. */
#include "enclave.h"

int main(void)
{
	struct enclave enclave;

	enclave_load(&enclave, NULL);
	return mmap(enclave.base + enclave.data, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_SHARED | MAP_FIXED, enclave.fd,
		    0) == MAP_FAILED;
}
