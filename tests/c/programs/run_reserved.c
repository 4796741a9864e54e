/* __vdso_sgx_enter_enclave() refuses a struct sgx_enclave_run in whose reserved bytes is anything but zeros. */
#include "enclave.h"

#include <stddef.h>

static struct sgx_enclave_run run;
static unsigned int byte;

static void set_byte(void)
{
	((uint8_t *)&run)[byte] = 0x80;
}

int main(void)
{
	static struct enclave enclave;
	struct request request = { .op = OP_NOP };
	int entered = 0;

	enclave_load(&enclave, NULL);
	before_vdso_call = set_byte;
	for (byte = offsetof(struct sgx_enclave_run, reserved); byte < sizeof run; byte++)
		entered += vdso_enter(enclave_tcs(&enclave, 0), &request, EENTER, &run) != -EINVAL || run.function == EEXIT;
	ok_eq(entered, 0, "no entry, whichever of them it is");
	before_vdso_call = NULL;
	ok_eq(vdso_enter(enclave_tcs(&enclave, 0), &request, EENTER, &run), 0, "with all of them zero it is entered");
	return done();
}
