/*
 * The vDSO whose SGX function is no more than ENCLU and UD2.  Contract: ENCLU_SGX_IOC_SET_VDSO_TARGET in enclu_sgx.h.
 *
 * The caller sets RAX to EENTER or ERESUME, RBX to the TCS and RCX to the AEP: this function, so that the kernel
 * knows the ENCLU of an exception by its address.
 */
#include "common.h"

	.balign	64
	.globl	__vdso_sgx_enter_enclave
	.type	__vdso_sgx_enter_enclave, @function
__vdso_sgx_enter_enclave:
	.cfi_startproc
.Lenclu:
	.byte	0x0f, 0x01, 0xd7
	EXTABLE	.Lenclu, .Lreturn
.Lreturn: /* EEXIT comes here too, as EENTER leaves this address in RCX. */
	ud2
	.byte	0xcc, 0xcc, 0xcc	/* With the UD2, room for JMP rel32; vdso_jmp.py knows the bytes. */
	.cfi_endproc
	.size	__vdso_sgx_enter_enclave, . - __vdso_sgx_enter_enclave
