/* Memory that such an enclave manages by SGX2: the host's part by OCALLs, its own by EACCEPT. SDK: emm_private.h. */
#ifndef ENCLU_TESTS_HOST_SDK_EDMM_H
#define ENCLU_TESTS_HOST_SDK_EDMM_H

#include "protocol.h"
#include "sgx.h"

enum { R = 1, W = 2, TCS = 1 << 8, REG = 2 << 8, TRIM = 4 << 8 };	/* of pages, as SECINFO.FLAGS has them */
enum { PENDING = 8, MODIFIED = 16, PR = 32 };

/* The host's part; 0 for success. */
int edmm(uint32_t what, uint64_t address, uint64_t size, uint32_t from, uint32_t to);

uint32_t eaccept(uint64_t page, uint64_t flags);

/* These have the host do it, and accept it: the host's refusal, or EACCEPT's. */
int add_pages(uint64_t address, int n);
int protect_page(uint64_t page);
int remove_page(uint64_t page);

/* Of whom it is a part: memory outside, for the structure of an OCALL. */
void *allocate_outside(size_t size);

#endif
