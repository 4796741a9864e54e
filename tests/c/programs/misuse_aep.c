/* Misuse: the AEP is not code. */
#include "enclave.h"

int main(void)
{
	struct request request = { .op = OP_UD2 };
	struct enclave enclave;

	enclave_load(&enclave, NULL);
	__asm__ volatile("mov $2, %%eax; .byte 0x0f, 0x01, 0xd7; int3"
			 : : "b"(enclave_tcs(&enclave, 0)), "D"(&request), "c"(0x1000ul) : "memory", "rax");
	return 1;
}
