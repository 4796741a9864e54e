/* What passes between an enclave and who enters it: ordinary memory outside, whose address is in RDI at EENTER. */
#ifndef ENCLU_ENCLAVE_CALL_H
#define ENCLU_ENCLAVE_CALL_H

#define CALL_ENTER 0	/* offset of `enter`, for assembly */

#define ATTRIBUTE_AEXNOTIFY 0x400

#define ENTER_ECALL 0
#define ENTER_ORET 1		/* back from an OCALL */
#define ENTER_EXCEPTION 2	/* at a CSSA greater than 0: what has interrupted you? */
#define ENTER_RESET 3		/* the host gives up what it was doing; argument: CSSA << 32 | ECALLs to keep there */

#ifndef __ASSEMBLER__
#include <stdint.h>

enum { EXIT_DONE, EXIT_OCALL };

struct sgx_call {
	uint64_t enter;		/* why the enclave is entered */
	uint64_t exit;		/* why it left by EEXIT */
	uint64_t function;
	uint64_t argument;
	uint64_t result;	/* of an ECALL; of an exception: 1 if it is repaired; of a reset: CSSA, to be repeated until it is the one */
	uint64_t ocall;
	uint64_t ocall_argument;
	uint64_t ocall_result;
};
#endif

#endif
