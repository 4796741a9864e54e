/*
 * `vdso-jmp`: the runtime has the kernel patch the vDSO, so that exits and exceptions jump to enter_returned.  That
 * is farther from the vDSO than JMP rel32 reaches, so a trampoline near the vDSO leads there.
 */
#include "core.h"

#include <errno.h>
#include <sys/mman.h>

#include "enclu_sgx.h"

static struct enclu_sgx_vdso_target arguments;

static int start(void)
{
	int error;

	vdso_function = vdso_symbol("__vdso_sgx_enter_enclave");
	if (!vdso_function)
		return ENOSYS;
	arguments.target = (uint64_t)trampoline(vdso_function, enter_returned);
	error = device_ioctl(ENCLU_SGX_IOC_SET_VDSO_TARGET, &arguments);
	if (error && arguments.target)
		munmap((void *)arguments.target, SGX_PAGE);
	return error;
}

static int stop(void)
{
	int error = device_ioctl(ENCLU_SGX_IOC_CLEAR_VDSO_TARGET, NULL);

	if (!error)
		munmap((void *)arguments.target, SGX_PAGE);
	return error;
}

const struct design design = { start, stop, enter_by_jump };
