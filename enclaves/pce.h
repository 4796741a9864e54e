/*
 * The provisioning certification enclave: it certifies quoting enclaves of this machine, with a key that only it and
 * the machine's manufacturer know.  host/attestation/platform.py has the same structures.
 */
#ifndef ENCLAVES_PCE_H
#define ENCLAVES_PCE_H

#include "sgx.h"

#define PCE_ID 0

enum pce_function { PCE_GET_INFO, PCE_CERTIFY };

enum pce_error { PCE_OK, PCE_INVALID_PARAMETER, PCE_INVALID_REPORT, PCE_INVALID_PRIVILEGE, PCE_REFUSED_SVN, PCE_FAILED };

/* PCE_GET_INFO: what to report to it with, and what it is. */
struct pce_info {
	struct sgx_targetinfo target;
	uint16_t pce_svn, pce_id;
	uint32_t reserved;
};

/* PCE_CERTIFY. */
struct pce_certification {
	struct sgx_report report;	/* of the quoting enclave, to this one */
	uint8_t cpusvn[16];		/* the TCB to sign for: this machine's, or a lower one */
	uint16_t pce_svn, reserved[7];
	uint8_t signature[64];		/* to the host: of the report's body */
};

#endif
