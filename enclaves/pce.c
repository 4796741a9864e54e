/*
 * enclu's provisioning certification enclave.  Software: nothing is protected.
 *
 * The certification key depends on the machine and its TCB only.  As for Intel's PCE, the manufacturer, who knows the
 * machine's secret, derives it as well, and issues the certificate.
 */
#include "pce.h"
#include "p256.h"
#include "trusted.h"

#include <string.h>

static bool provision_key(const uint8_t cpusvn[16], uint16_t isvsvn, uint8_t key[16])
{
	struct sgx_keyrequest request = {
		.keyname = SGX_PROVISION_KEY, .isvsvn = isvsvn, .attributemask = ~4ull, .miscmask = 0xffffffff,
	};

	memcpy(request.cpusvn, cpusvn, sizeof(request.cpusvn));
	return !sgx_key(&request, key);
}

/* NIST SP 800-108, counter mode, with CMAC: 320 bits. */
static bool certification_key(const uint8_t root[16], struct p256_key *key)
{
	uint8_t seed[48], input[16] __attribute__((nonstring)) = "\0PAK_KEY_DER\0\0\1\x40";

	for (int i = 0; i < 3; i++) {
		input[0] = i + 1;
		sgx_cmac(root, input, sizeof(input), seed + 16 * i);
	}
	return p256_derive(seed, 40, key);
}

static enum pce_error certify(struct pce_certification *c)
{
	struct p256_key key;
	uint8_t root[16];
	enum pce_error error = PCE_OK;

	if (!sgx_verify_report(&c->report))
		return PCE_INVALID_REPORT;
	if (!(c->report.body.attributes & SGX_ATTRIBUTE_PROVISIONKEY))
		return PCE_INVALID_PRIVILEGE;
	if (!provision_key(c->cpusvn, c->pce_svn, root))
		return PCE_REFUSED_SVN;
	if (!certification_key(root, &key) || !p256_sign(&key, &c->report.body, sizeof(c->report.body), c->signature))
		error = PCE_FAILED;
	memset(&key, 0, sizeof(key));
	__asm__ volatile("" : : "r"(&key) : "memory");
	return error;
}

static void tell(struct pce_info *info)
{
	struct sgx_report_body self;

	sgx_self(&self);
	sgx_own_targetinfo(&info->target);
	info->pce_svn = self.isvsvn;
	info->pce_id = PCE_ID;
}

uint64_t enclave_main(struct thread *thread, uint64_t function, void *argument)
{
	struct pce_certification certification;
	struct pce_info info = { 0 };
	enum pce_error error;

	(void)thread;
	switch (function) {
	case PCE_GET_INFO:
		if (!is_outside(argument, sizeof(info)))
			break;
		tell(&info);
		memcpy(argument, &info, sizeof(info));
		return PCE_OK;
	case PCE_CERTIFY:
		if (!is_outside(argument, sizeof(certification)))
			break;
		memcpy(&certification, argument, sizeof(certification));
		error = certify(&certification);
		if (!error)
			memcpy(((struct pce_certification *)argument)->signature, certification.signature,
			       sizeof(certification.signature));
		return error;
	}
	return PCE_INVALID_PARAMETER;
}
