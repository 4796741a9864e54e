/* A jump from where the vDSO's JMP rel32 reaches. */
#include "core.h"

#include <string.h>
#include <sys/mman.h>

void *trampoline(void *vdso, void *target)
{
	static const uint8_t jump[] = { 0xff, 0x25, 0, 0, 0, 0 }; /* jmp *0(%rip); the address follows */
	uint8_t *near = (uint8_t *)((uint64_t)vdso & -SGX_PAGE), *page;

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
