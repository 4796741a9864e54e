/*
 * `vdso-2018`: the runtime calls the vDSO's function, which returns after EEXIT and after exceptions.  It always
 * executes EENTER, so that an enclave that was interrupted by an exception cannot be resumed.
 */
#include "core.h"

#include <errno.h>

#include "enclu_sgx.h"

static enclu_vdso_2018_enter_enclave_t function;

static int start(void)
{
	function = (enclu_vdso_2018_enter_enclave_t)vdso_symbol("__vdso_sgx_enter_enclave");
	return function ? 0 : ENOSYS;
}

static int stop(void)
{
	return 0;
}

static void enter(struct entry *entry)
{
	struct enclu_sgx_enclave_exception info = { 0 };
	unsigned int next;

	do {
		if (PROBED(function)(entry->tcs, entry->call, &info) == 0)
			next = entry_event(entry, EEXIT, 0, 0, 0);
		else
			next = entry_event(entry, info.leaf, info.trapnr, info.error_code, info.address);
	} while (next == EENTER);
	if (next)
		entry->status = EOPNOTSUPP;
}

const struct design design = { start, stop, enter };
