/* The enclave of the tests of attestation. */
#include "attestation.h"
#include "sealing.h"
#include "trusted.h"

#include <stdlib.h>
#include <string.h>

enum { REPORT, VERIFY, SEAL, UNSEAL, OWN_REPORT, QUOTE_BY_OCALL, TARGET, CMAC, SIV, ALLOCATE, KEY };

struct buffer {
	uint64_t size;
	uint8_t bytes[1024];
};

/* Says what it was asked by whom, in its own words. */
static const uint8_t words[64] = "the enclave's own words";

/* An exception before and one after the OCALL, in which the host has a quote made. */
static uint64_t quote_by_ocall(struct thread *thread, void *argument)
{
	uint64_t result;

	__asm__ volatile("ud2");
	result = ocall(thread, 0, argument);
	__asm__ volatile("ud2");
	return result;
}

static uint64_t allocate_and_free(uint64_t count)
{
	uint8_t *kept[64] = { 0 };
	uint64_t wrong = 0;

	for (uint64_t i = 0; i < count; i++) {
		uint64_t slot = i * 7 % 64, size = i * 37 % 2000;

		for (uint64_t j = 0; kept[slot] && j < size / 2; j++)
			;
		free(kept[slot]);
		kept[slot] = malloc(size);
		if (!kept[slot] || (uint64_t)kept[slot] % 16)
			return ~0ull;
		memset(kept[slot], slot, size);
		kept[slot][0] = slot;
		for (int other = 0; other < 64; other++)
			wrong += kept[other] && kept[other][0] != other;
	}
	for (int slot = 0; slot < 64; slot++)
		free(kept[slot]);
	return wrong;
}

uint64_t enclave_main(struct thread *thread, uint64_t function, void *argument)
{
	union {
		struct sgx_sealed sealed;
		uint8_t bytes[1024 + 128];
	} sealed;
	struct buffer buffer;
	struct sgx_report report;
	struct sgx_targetinfo target;
	struct sgx_keyrequest request = { .keyname = SGX_SEAL_KEY, .keypolicy = SGX_POLICY_MRSIGNER };

	switch (function) {
	case REPORT:
		return answer_report_request(argument, NULL);
	case OWN_REPORT:
		return answer_report_request(argument, words);
	case VERIFY:
		memcpy(&report, argument, sizeof(report));
		return sgx_verify_report(&report);
	case TARGET:
		sgx_own_targetinfo(&target);
		memcpy(argument, &target, sizeof(target));
		return 1;
	case SEAL:
		memcpy(&buffer, argument, sizeof(buffer));
		if (buffer.size > 900 || sgx_seal(SGX_POLICY_MRENCLAVE, buffer.bytes, buffer.size, &sealed.sealed))
			return 0;
		buffer.size = sgx_sealed_size(buffer.size);
		memcpy(buffer.bytes, sealed.bytes, buffer.size);
		memcpy(argument, &buffer, sizeof(buffer));
		return 1;
	case UNSEAL:
		memcpy(&buffer, argument, sizeof(buffer));
		memcpy(sealed.bytes, buffer.bytes, sizeof(buffer.bytes));
		if (buffer.size > sizeof(buffer.bytes) || !sgx_unseal(&sealed.sealed, buffer.size, buffer.bytes))
			return 0;
		buffer.size = sealed.sealed.size;
		memcpy(argument, &buffer, sizeof(buffer));
		return 1;
	case QUOTE_BY_OCALL:
		return quote_by_ocall(thread, argument);
	case CMAC:	/* key, message; the MAC */
		memcpy(&buffer, argument, sizeof(buffer));
		sgx_cmac(buffer.bytes, buffer.bytes + 16, buffer.size, argument);
		return 1;
	case ALLOCATE:
		return allocate_and_free((uint64_t)argument);
	case KEY:
		return sgx_key(&request, argument);
	}
	return 0;
}

bool enclave_exception(struct ssa_gpr *gpr, const struct ssa_exinfo *exinfo)
{
	if ((gpr->exitinfo & EXITINFO_VECTOR) != 6)
		return accept_spare_page(gpr, exinfo);
	gpr->rip += 2;
	return true;
}
