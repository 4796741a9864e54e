/*
 * The quoting enclave: it turns REPORTs of this machine's enclaves into quotes, which others can verify.
 * host/attestation/platform.py has the same structures.
 */
#ifndef ENCLAVES_QE_H
#define ENCLAVES_QE_H

#include "pce.h"
#include "sealing.h"

/* enclu's own: 718f3ad7-27c5-45e2-b41e-02056a805682. */
#define QE_VENDOR_ID { 0x71, 0x8f, 0x3a, 0xd7, 0x27, 0xc5, 0x45, 0xe2, 0xb4, 0x1e, 0x02, 0x05, 0x6a, 0x80, 0x56, 0x82 }
#define QE_AUTHENTICATION_DATA "enclu: nothing is protected here"

enum qe_function { QE_GET_TARGETINFO, QE_QUOTE };

enum qe_error {
	QE_OK, QE_INVALID_PARAMETER, QE_INVALID_REPORT, QE_INVALID_KEY, QE_NOT_CERTIFIED, QE_BUFFER_TOO_SMALL, QE_FAILED,
};

/* OCALLs during QE_QUOTE; the argument is the request's `certification`.  0, or any error. */
enum qe_ocall {
	QE_OCALL_PCE_INFO,	/* fill `pce` */
	QE_OCALL_CERTIFY,	/* have the PCE sign `qe` */
};

#define QE_KEY_SIZE (sizeof(struct sgx_sealed) + 32)

struct qe_certification {
	struct pce_info pce;
	struct pce_certification qe;
	uint16_t type;			/* of the certification data */
	uint8_t reserved[6];
	uint64_t size;
	const uint8_t *data;		/* a certificate chain, outside */
};

/* QE_QUOTE. */
struct qe_request {
	struct sgx_report report;	/* of whom the quote is, to this enclave */
	struct qe_certification certification;
	uint8_t key[QE_KEY_SIZE];	/* the attestation key, sealed: to the host, if key_size is 0 */
	uint64_t key_size;
	uint64_t quote_size;		/* room at `quote`; to the host: what the quote needs */
	uint8_t *quote;			/* outside */
};

#endif
