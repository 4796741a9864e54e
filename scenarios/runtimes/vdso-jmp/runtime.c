/*
 * `vdso-jmp`: the runtime has the kernel patch the vDSO, so that exits and exceptions jump to enter_returned.  That
 * is farther from the vDSO than JMP rel32 reaches, so a trampoline near the vDSO leads there.
 */
#include "core.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "enclu_sgx.h"

/* enter.S */
void enter_by_jump(struct entry *entry);
extern uint8_t enter_returned[];
extern void *vdso_function;

static uint8_t *trampoline(void)
{
	static const uint8_t jump[] = { 0xff, 0x25, 0, 0, 0, 0 }; /* jmp *0(%rip); the address follows */
	uint8_t *near = (uint8_t *)((uint64_t)vdso_function & -SGX_PAGE), *page;
	void *target = enter_returned;

	for (int i = 1; i <= 256; i++) {
		page = mmap(near + 0x100000 * i, SGX_PAGE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
		if (page == MAP_FAILED)
			continue;
		memcpy(page, jump, sizeof(jump));
		memcpy(page + sizeof(jump), &target, sizeof(target));
		mprotect(page, SGX_PAGE, PROT_READ | PROT_EXEC);
		return page;
	}
	return NULL;
}

static struct enclu_sgx_vdso_target arguments;

static int start(void)
{
	int error;

	vdso_function = vdso_symbol("__vdso_sgx_enter_enclave");
	if (!vdso_function)
		return ENOSYS;
	arguments.target = (uint64_t)trampoline();
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

const struct design design = { "vdso-jmp", start, stop, enter_by_jump };
