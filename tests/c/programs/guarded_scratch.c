/* A guard region in the machine's memory, made before the device is opened; then a code is asked for.  77: no such regions. */
#include "fault.h"

#include <sys/auxv.h>

#define MADV_GUARD_INSTALL 102

int main(void)
{
	uint8_t *scratch = (uint8_t *)getauxval(AT_SYSINFO_EHDR) + 0x10000;
	struct enclave enclave;
	void *tcs;

	if (madvise(scratch + 7 * PAGE, PAGE, MADV_GUARD_INSTALL))
		return 77;
	enclave_load(&enclave, NULL);
	tcs = enclave_tcs(&enclave, 0);
	attempt(tcs, &(struct request){ .op = OP_READ, .a = (uint64_t)tcs }, EENTER);
	return 0;
}
