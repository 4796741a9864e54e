/* `vdso`: the runtime calls the vDSO's function, and that calls back after every exit. */
#include "core.h"

#include <asm/sgx.h>
#include <errno.h>

/* enter.S */
void enter_by_vdso(struct entry *entry, struct sgx_enclave_run *run, void *function);
int enter_handler(long rdi, long rsi, long rdx, long ursp, long r8, long r9, struct sgx_enclave_run *run);

static void *function;

static int start(void)
{
	function = vdso_symbol("__vdso_sgx_enter_enclave");
	return function ? 0 : ENOSYS;
}

static int stop(void)
{
	return 0;
}

/* From enter_handler(). */
unsigned int on_run(struct sgx_enclave_run *run)
{
	return entry_event((struct entry *)run->user_data, run->function, run->exception_vector, run->exception_error_code,
			   run->exception_addr);
}

static void enter(struct entry *entry)
{
	struct sgx_enclave_run run = {
		.tcs = (uint64_t)entry->tcs,
		.user_handler = (uint64_t)enter_handler,
		.user_data = (uint64_t)entry,
	};

#ifdef PROBE
	run.user_handler = 0; /* A callback is C code, which changes registers. */
#endif
	enter_by_vdso(entry, &run, function);
#ifdef PROBE
	on_run(&run);
#endif
}

const struct design design = { start, stop, enter };
