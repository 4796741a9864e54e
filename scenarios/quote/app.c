/*
 * An enclave that has itself attested: its OCALLs load the quoting enclave, and have it quote its report.  Before the
 * first and after the second it executes UD2, which its handler steps over.
 */
#include "app.h"
#include "trusted.h"

bool enclave_exception(struct ssa_gpr *gpr, const struct ssa_exinfo *exinfo)
{
	(void)exinfo;
	if (gpr->exitinfo != (EXITINFO_VALID | 3 << 8 | 6))
		return false;
	gpr->rip += 2;
	return true;
}

uint64_t enclave_main(struct thread *thread, uint64_t function, void *argument)
{
	static const uint8_t words[64] = "attested in an OCALL";
	struct app_request *request = argument;
	struct sgx_targetinfo target;
	struct sgx_report report;
	uint64_t result;

	if (function != APP_ATTEST || !is_outside(request, sizeof(*request)))
		return ~0ull;
	__asm__ volatile("ud2");
	if (ocall(thread, APP_OCALL_LOAD, request))
		return ~0ull;
	target = request->target;
	sgx_report(&target, words, &report);
	request->report = report;
	result = ocall(thread, APP_OCALL_QUOTE, request);
	__asm__ volatile("ud2");
	return result;
}
