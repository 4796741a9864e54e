/* Adding, protecting and removing pages. */
#include "edmm.h"

int edmm(uint32_t what, uint64_t address, uint64_t size, uint32_t from, uint32_t to)
{
	struct { int retval; uint64_t address, size; uint32_t from, to; } *ms = allocate_outside(sizeof *ms);

	*ms = (typeof(*ms)){ -1, address, size, from, to };
	return sgx_ocall(what, ms) ? -1 : ms->retval;
}

uint32_t eaccept(uint64_t page, uint64_t flags)
{
	struct { uint64_t flags, reserved[7]; } __attribute__((aligned(64))) secinfo = { flags, {} };

	return sgx_enclu(EACCEPT, &secinfo, page);
}

int add_pages(uint64_t address, int n)
{
	int refused = edmm(EDMM_ALLOC, address, n * 4096ul, REG, 0);

	for (int i = 0; i < n && !refused; i++)
		refused = eaccept(address + i * 4096ul, REG | PENDING | W | R);
	return refused;
}

int protect_page(uint64_t page)
{
	int refused = edmm(EDMM_MODIFY, page, 4096, REG | R | W, REG | R);

	return refused ? refused : (int)eaccept(page, REG | PR | R);
}

int remove_page(uint64_t page)
{
	int refused = edmm(EDMM_MODIFY, page, 4096, REG | R | W, TRIM | R | W);

	if (!refused)
		refused = eaccept(page, TRIM | MODIFIED);
	return refused ? refused : edmm(EDMM_MODIFY, page, 4096, TRIM | R | W, TRIM);
}
