/* How a host asks an enclave for a REPORT: enclu.attestation has the same. */
#ifndef ENCLU_ENCLAVE_ATTESTATION_H
#define ENCLU_ENCLAVE_ATTESTATION_H

#include "sgx.h"

struct report_request {
	struct sgx_targetinfo target;	/* from the host: for whom */
	uint8_t data[64];		/* from the host: what it would like to have in REPORTDATA */
	struct sgx_report report;	/* to the host */
};

/*
 * Answers the request at `argument` with a REPORT that has `data`, or, if that is NULL, what the host asked for.  An
 * enclave that lets the host choose tells its peers nothing but that it exists.  False if the request is not outside.
 */
bool answer_report_request(void *argument, const uint8_t data[64]);

#endif
