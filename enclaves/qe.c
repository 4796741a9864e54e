/*
 * enclu's quoting enclave.  Software: nothing is protected.
 *
 * A quote (version 3, ECDSA P-256) is signed with the attestation key, which is this enclave's own; a REPORT of this
 * enclave, signed by the PCE, tells so.  Layout: Intel's DCAP ECDSA quoting library API, appendix A.
 */
#include "qe.h"
#include "p256.h"
#include "trusted.h"

#include <stdlib.h>
#include <string.h>

#define MAX_CERTIFICATION_DATA (64u << 10)

/* Little-endian, and packed in the quote; these have no holes. */
struct quote_header {
	uint16_t version, att_key_type;
	uint32_t tee_type;
	uint16_t qe_svn, pce_svn;
	uint8_t qe_vendor_id[16], user_data[20];
};
struct quoted {
	struct quote_header header;
	struct sgx_report_body report;
};
struct signatures {
	uint8_t signature[64], attestation_key[64];
	struct sgx_report_body qe_report;
	uint8_t qe_report_signature[64];
};

/* What a quote is made of, in the enclave. */
struct work {
	struct qe_request request;	/* a copy */
	struct p256_key key;
	struct quoted quoted;
	struct signatures signatures;
	struct sgx_report own;
};

static const uint8_t authentication_data[32] __attribute__((nonstring)) = QE_AUTHENTICATION_DATA;

static enum qe_error load_key(struct work *w)
{
	struct sgx_sealed *sealed = (struct sgx_sealed *)w->request.key;

	if (w->request.key_size) {
		if (w->request.key_size != QE_KEY_SIZE || sealed->size != sizeof(w->key.private_key) ||
		    !sgx_unseal(sealed, QE_KEY_SIZE, w->key.private_key))
			return QE_INVALID_KEY;
		return p256_complete(&w->key) ? QE_OK : QE_FAILED;
	}
	if (!p256_generate(&w->key) ||
	    sgx_seal(SGX_POLICY_MRSIGNER, w->key.private_key, sizeof(w->key.private_key), sealed))
		return QE_FAILED;
	w->request.key_size = QE_KEY_SIZE;
	return QE_OK;
}

/* A number for this quoting enclave on this machine, the same for all its versions. */
static bool qe_id(uint8_t id[16])
{
	struct sgx_keyrequest request = { .keyname = SGX_SEAL_KEY, .keypolicy = SGX_POLICY_MRSIGNER, .attributemask = 2 };
	static const uint8_t label[16] = "enclu QE_ID";
	uint8_t key[16];

	if (sgx_key(&request, key))
		return false;
	sgx_cmac(key, label, sizeof(label), id);
	return true;
}

/* Two OCALLs: whom to report to, and the signature of that report. */
static enum qe_error certify(struct work *w, struct thread *thread, struct qe_certification *outside)
{
	struct qe_certification *inside = &w->request.certification;
	uint8_t data[64] = { 0 };

	if (ocall(thread, QE_OCALL_PCE_INFO, outside))
		return QE_NOT_CERTIFIED;
	inside->pce = outside->pce;
	if (!sha256(w->key.public_key, sizeof(w->key.public_key), authentication_data, sizeof(authentication_data), data))
		return QE_FAILED;
	sgx_report(&inside->pce.target, data, &w->own);
	memcpy(&outside->qe.report, &w->own, sizeof(w->own));
	memcpy(outside->qe.cpusvn, w->own.body.cpusvn, sizeof(outside->qe.cpusvn));
	outside->qe.pce_svn = inside->pce.pce_svn;
	if (ocall(thread, QE_OCALL_CERTIFY, outside))
		return QE_NOT_CERTIFIED;
	memcpy(inside->qe.signature, outside->qe.signature, sizeof(inside->qe.signature));
	inside->type = outside->type;
	inside->size = outside->size;
	inside->data = outside->data;
	if (inside->size > MAX_CERTIFICATION_DATA || !is_outside(inside->data, inside->size))
		return QE_INVALID_PARAMETER;
	return QE_OK;
}

static bool sign(struct work *w)
{
	w->quoted.header = (struct quote_header){
		.version = 3, .att_key_type = 2, .qe_svn = w->own.body.isvsvn,
		.pce_svn = w->request.certification.pce.pce_svn, .qe_vendor_id = QE_VENDOR_ID,
	};
	w->quoted.report = w->request.report.body;
	memcpy(w->signatures.attestation_key, w->key.public_key, sizeof(w->signatures.attestation_key));
	w->signatures.qe_report = w->own.body;
	memcpy(w->signatures.qe_report_signature, w->request.certification.qe.signature, sizeof(w->signatures.qe_report_signature));
	return qe_id(w->quoted.header.user_data) && p256_sign(&w->key, &w->quoted, sizeof(w->quoted), w->signatures.signature);
}

static uint8_t *put(uint8_t *at, const void *part, size_t size)
{
	memcpy(at, part, size);
	return at + size;
}

/* The quote, to where the host wants it. */
static enum qe_error hand_over(struct work *w)
{
	const struct qe_certification *c = &w->request.certification;
	uint16_t authentication_size = sizeof(authentication_data);
	uint32_t certification_size = c->size, signature_size;
	uint64_t room = w->request.quote_size;
	uint8_t *at = w->request.quote;

	signature_size = sizeof(w->signatures) + 2 + authentication_size + 2 + 4 + certification_size;
	w->request.quote_size = sizeof(w->quoted) + 4 + signature_size;
	if (room < w->request.quote_size)
		return QE_BUFFER_TOO_SMALL;
	at = put(at, &w->quoted, sizeof(w->quoted));
	at = put(at, &signature_size, sizeof(signature_size));
	at = put(at, &w->signatures, sizeof(w->signatures));
	at = put(at, &authentication_size, sizeof(authentication_size));
	at = put(at, authentication_data, sizeof(authentication_data));
	at = put(at, &c->type, sizeof(c->type));
	at = put(at, &certification_size, sizeof(certification_size));
	put(at, c->data, certification_size);
	return QE_OK;
}

static enum qe_error make_quote(struct work *w, struct thread *thread, struct qe_request *outside)
{
	enum qe_error error;

	memcpy(&w->request, outside, sizeof(w->request));
	if (!is_outside(w->request.quote, w->request.quote_size))
		return QE_INVALID_PARAMETER;
	if (!sgx_verify_report(&w->request.report))
		return QE_INVALID_REPORT;
	error = load_key(w);
	if (error)
		return error;
	error = certify(w, thread, &outside->certification);
	if (error)
		return error;
	if (!sign(w))
		return QE_FAILED;
	error = hand_over(w);
	memcpy(outside->key, w->request.key, sizeof(outside->key));
	outside->key_size = w->request.key_size;
	outside->quote_size = w->request.quote_size;
	return error;
}

uint64_t enclave_main(struct thread *thread, uint64_t function, void *argument)
{
	struct sgx_targetinfo own;
	struct work *work;
	enum qe_error error;

	switch (function) {
	case QE_GET_TARGETINFO:
		if (!is_outside(argument, sizeof(own)))
			break;
		sgx_own_targetinfo(&own);
		memcpy(argument, &own, sizeof(own));
		return QE_OK;
	case QE_QUOTE:
		if (!is_outside(argument, sizeof(struct qe_request)))
			break;
		work = calloc(1, sizeof(*work));
		if (!work)
			return QE_FAILED;
		error = make_quote(work, thread, argument);
		memset(work, 0, sizeof(*work));
		free(work);
		return error;
	}
	return QE_INVALID_PARAMETER;
}
