/*
 * enclu_sgx.h: the ioctls that enclu's /dev/sgx_enclave has besides those of the kernel's <asm/sgx.h>.
 *
 * A program is compiled with  cc -I"$(python3 -c 'import enclu; print(enclu.include_dir())')" ...
 *
 * Numbers begin at 0x20, clear of the kernel's.  An ioctl that belongs to another delivery design than the one that
 * the program runs under (`enclu run --delivery`) fails with ENOTTY, and so does one of another size.
 */
#ifndef ENCLU_SGX_H
#define ENCLU_SGX_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define ENCLU_SGX_MAGIC 0xA4

/*
 * Every design: which one the program runs under. For programs that can do with several.
 */
struct enclu_sgx_delivery {
	char name[32];	/* As `enclu run --delivery` has it, without a setting; padded with zeros, at least one. */
};

/*
 * Tells the design.
 *
 * EFAULT	the structure cannot be written
 */
#define ENCLU_SGX_IOC_GET_DELIVERY	_IOR(ENCLU_SGX_MAGIC, 0x28, struct enclu_sgx_delivery)

/*
 * Design `mm-handler`: one handler for each memory map (process), for exceptions of ENCLU.
 *
 * When ENCLU[EENTER] or ENCLU[ERESUME] raises an exception, or an enclave does and the instruction at the AEP is an
 * ENCLU, and the exception would become a signal, the thread goes on at the handler instead, with
 *
 *	RIP	the handler
 *	RAX	the leaf: 2 (EENTER) if ENCLU itself faulted, 3 (ERESUME) after an asynchronous exit;
 *		an ERESUME that itself faulted has 3 too
 *	RDI	trap number (exception vector, for example 14 for #PF)
 *	RSI	error code that the processor reported, 0 where the exception has none
 *	RDX	address that the access faulted on (#PF), else 0
 *
 * and everything else as it was at the ENCLU or after the AEX: RBX is the TCS, RCX the AEP, RSP and RBP are the
 * program's own.  The handler is jumped to, not called: there is no return address and no alignment of the stack
 * beyond what the program itself made.  #DB and #BP are never delivered so; they stay signals.
 *
 * A forked child has a copy of its parent's registration; exec removes it.  Threads share it.
 *
 * `--delivery mm-handler:SETTING` says what a second registration does: `overwrite` (the default) replaces the first,
 * `unregister-first` refuses while there is one, `write-once` refuses for good.
 */
struct enclu_sgx_mm_handler {
	__u64 handler;	/* Address of the code to go on at: a user-space address, not 0. */
	__u64 flags;	/* No flags exist yet: 0. */
};

/*
 * Registers a handler.
 *
 * EFAULT	the structure cannot be read
 * EINVAL	`handler` is 0 or not a user-space address, or `flags` is not 0
 * EBUSY	a handler is registered, and the setting is `write-once` or `unregister-first`
 */
#define ENCLU_SGX_IOC_REGISTER_MM_HANDLER	_IOW(ENCLU_SGX_MAGIC, 0x20, struct enclu_sgx_mm_handler)

/*
 * Removes the registered handler: exceptions become signals again.  The argument is ignored.
 *
 * ENOENT	no handler is registered
 * EBUSY	a handler is registered, and the setting is `write-once`
 */
#define ENCLU_SGX_IOC_UNREGISTER_MM_HANDLER	_IO(ENCLU_SGX_MAGIC, 0x21)

#endif
