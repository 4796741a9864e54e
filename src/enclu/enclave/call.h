/* What passes between an enclave and who enters it: ordinary memory outside, whose address is in RDI at EENTER. */
#ifndef ENCLU_ENCLAVE_CALL_H
#define ENCLU_ENCLAVE_CALL_H

#define ATTRIBUTE_AEXNOTIFY 0x400

#define ENTER_ECALL 0
#define ENTER_ORET 1		/* back from an OCALL */
#define ENTER_EXCEPTION 2	/* at a CSSA greater than 0: what has interrupted you? */
#define ENTER_RESET 3		/* the host gives up what it was doing; argument: CSSA << 32 | ECALLs to keep there */

#ifndef __ASSEMBLER__
#include <stdint.h>

enum { EXIT_DONE, EXIT_OCALL, EXIT_REFUSED };	/* refused: no ECALL here, no OCALL to return from */

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

#define CALL_MARK 0x656e636cull		/* "encl" */
#define CALL_WHY 28
#define CALL_UNTOLD 0xfffffffull	/* none, or a greater one */

/*
 * In RDI at EEXIT, for traces of registers: why the enclave left, and the number of the OCALL or of the ECALL that is
 * over.  Who enters may have such a word in RSI, with `enter` in place of `exit`; the enclave does not look.
 */
static inline uint64_t call_word(uint64_t why, uint64_t number)
{
	return CALL_MARK << 32 | why << CALL_WHY | (number < CALL_UNTOLD ? number : CALL_UNTOLD);
}
#endif

#endif
