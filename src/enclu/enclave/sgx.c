/* ENCLU's leaves for C. */
#include "sgx.h"
#include "attestation.h"
#include "trusted.h"

#include <string.h>

void sgx_report(const struct sgx_targetinfo *target, const uint8_t data[64], struct sgx_report *report)
{
	struct sgx_targetinfo aligned_target __attribute__((aligned(512))) = *target;
	uint8_t aligned_data[64] __attribute__((aligned(128)));
	struct sgx_report made __attribute__((aligned(512)));
	uint64_t leaf = EREPORT;

	memcpy(aligned_data, data, sizeof(aligned_data));
	__asm__ volatile(".byte 0x0f, 0x01, 0xd7" : "+a"(leaf) : "b"(&aligned_target), "c"(aligned_data), "d"(&made)
			 : "memory", "cc");
	*report = made;
}

void sgx_self(struct sgx_report_body *self)
{
	static const struct sgx_targetinfo nobody;
	static const uint8_t nothing[64];
	struct sgx_report report;

	sgx_report(&nobody, nothing, &report);
	*self = report.body;
}

bool answer_report_request(void *argument, const uint8_t data[64])
{
	struct report_request *request = argument;
	struct sgx_targetinfo target;
	struct sgx_report report;
	uint8_t asked[64];

	if (!is_outside(request, sizeof(*request)))
		return false;
	target = request->target;
	memcpy(asked, request->data, sizeof(asked));
	sgx_report(&target, data ? data : asked, &report);
	request->report = report;
	return true;
}

void sgx_own_targetinfo(struct sgx_targetinfo *target)
{
	struct sgx_report_body self;

	sgx_self(&self);
	memset(target, 0, sizeof(*target));
	memcpy(target->mrenclave, self.mrenclave, sizeof(target->mrenclave));
	target->attributes = self.attributes;
	target->xfrm = self.xfrm;
	target->cet_attributes = self.cet_attributes;
	target->configsvn = self.configsvn;
	target->miscselect = self.miscselect;
	memcpy(target->configid, self.configid, sizeof(target->configid));
}

uint64_t sgx_key(const struct sgx_keyrequest *request, uint8_t key[16])
{
	struct sgx_keyrequest aligned_request __attribute__((aligned(512))) = *request;
	uint8_t made[16] __attribute__((aligned(16)));
	uint64_t error = sgx_enclu(EGETKEY, &aligned_request, (uint64_t)made);

	if (!error)
		memcpy(key, made, sizeof(made));
	return error;
}

bool sgx_verify_report(const struct sgx_report *report)
{
	struct sgx_keyrequest request = { .keyname = SGX_REPORT_KEY };
	uint8_t key[16], mac[16], different = 0;

	memcpy(request.keyid, report->keyid, sizeof(request.keyid));
	if (sgx_key(&request, key))
		return false;
	sgx_cmac(key, &report->body, sizeof(report->body), mac);
	for (int i = 0; i < 16; i++)
		different |= mac[i] ^ report->mac[i];
	return !different;
}

uint64_t sgx_accept_page(void *page)
{
	uint64_t secinfo[8] __attribute__((aligned(64))) = { 0x200 | 8 | 3 };	/* PT_REG, PENDING, W and R */

	return sgx_enclu(EACCEPT, secinfo, (uint64_t)page);
}

void sgx_random(void *to, size_t size)
{
	uint8_t *output = to, given;
	uint64_t value;

	while (size) {
		size_t part = size < sizeof(value) ? size : sizeof(value);

		for (int tries = 0; ; tries++) {
			__asm__ volatile("rdrand %0; setc %1" : "=r"(value), "=qm"(given) : : "cc");
			if (given)
				break;
			if (tries == 100)
				__builtin_trap();
		}
		memcpy(output, &value, part);
		output += part;
		size -= part;
	}
}
