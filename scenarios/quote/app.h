/* The enclave that is attested, and what passes between it and its host. */
#ifndef SCENARIOS_QUOTE_APP_H
#define SCENARIOS_QUOTE_APP_H

#include "sgx.h"

enum { APP_ATTEST };	/* result: as the last OCALL has it */

/* OCALLs; the argument is a struct app_request outside. */
enum { APP_OCALL_LOAD, APP_OCALL_QUOTE };

struct app_request {
	struct sgx_targetinfo target;	/* of the quoting enclave, after the first OCALL */
	struct sgx_report report;	/* before the second */
};

#endif
