/* SPDX-License-Identifier: Apache-2.0 OR (GPL-2.0 WITH Linux-syscall-note) */
/*
 * enclu_sgx.h: the ioctls that enclu's /dev/sgx_enclave has besides those of the kernel's <asm/sgx.h>.
 *
 * A program is compiled with  cc -I"$(python3 -c 'import enclu; print(enclu.include_dir())')" ...
 *
 * Numbers begin at 0x20, clear of the kernel's; those from 0x2e on belong to every design.  An ioctl that belongs to another
 * delivery design than the one that the program runs under (`enclu run --delivery`) fails with ENOTTY, and so does one
 * of another size.  Any descriptor of /dev/sgx_enclave will do, whatever enclave it stands for.
 *
 * The register ABI, the same for every design.  When ENCLU[EENTER] or ENCLU[ERESUME] raises an exception, or an
 * enclave does and the asynchronous exit leads to an ENCLU, and the exception would become a signal, and the design
 * says where to go on instead, the thread goes on there with
 *
 *	RIP	the target: the handler, the jump, or the fixup in the vDSO
 *	RAX	the leaf: 2 (EENTER) if ENCLU itself faulted, 3 (ERESUME) after an asynchronous exit;
 *		an ERESUME that itself faulted has 3 too
 *	RDI	trap number (exception vector, for example 14 for #PF)
 *	RSI	error code that the processor reported, 0 where the exception has none
 *	RDX	address that the access faulted on (#PF), else 0
 *
 * and everything else as it was at the ENCLU or after the AEX: RBX is the TCS, RCX the AEP, RSP and RBP are the
 * program's own.  The target is jumped to, not called: there is no return address and no alignment of the stack
 * beyond what the program itself made.  #DB and #BP are never delivered so; they stay signals.
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
 * Every design: a power event, as if the machine had just slept (S3 or deeper) and woken up.  The EPC is lost, that of
 * all processes of the run.  The argument is ignored.
 *
 * Threads that are in an enclave leave it by an AEX for an interrupt first, as the kernel freezes them.  From then on
 * EENTER, ERESUME and a thread's way back into its enclave raise #PF with the SGX bit, error code 0x8005, and the
 * address of the TCS; where pages were evicted, nothing brings them back, and the #PF is that of a page not present,
 * which as a signal is SIGBUS.  Ioctls fail: ADD_PAGES and INIT with EIO, the others with EFAULT.  As with Linux, an
 * enclave that was lost must be unmapped and closed, and can then be built anew.  `enclu drop-epc PID` does the same.
 */
#define ENCLU_SGX_IOC_DROP_EPC	_IO(ENCLU_SGX_MAGIC, 0x2f)

/*
 * Every design: access to the memory of a debug enclave (SECS.ATTRIBUTES.DEBUG), as Linux gives it to debuggers by
 * ptrace(2) and /proc/PID/mem.
 */
struct enclu_sgx_debug_access {
	__u64 address;	/* In an enclave that is mapped in the caller's process. */
	__u64 buffer;	/* Address of the data to write, or of the room for what is read. */
	__u64 length;	/* Bytes; any alignment, any number of pages. */
	__u64 flags;	/* ENCLU_SGX_DEBUG_WRITE, or 0 to read. */
	__u64 count;	/* Out: bytes that were read or written, also when the ioctl fails. */
};
#define ENCLU_SGX_DEBUG_WRITE	0x1

/*
 * Reads or writes, word by word, by ENCLS[EDBGRD] and ENCLS[EDBGWR].  Neither the enclave's own permissions (EPCM)
 * matter nor whether a thread is inside.  Evicted pages are loaded; pages that do not exist are not added.
 *
 * Of a TCS, the first 72 bytes can be read, and FLAGS can be written: bit 0, DBGOPTIN, has INT3 and single-stepping in
 * the enclave raise #BP and #DB, as SIGTRAP at the AEP, from the next EENTER or ERESUME on.
 *
 * EFAULT	the structure or the buffer cannot be accessed; no debug enclave is mapped at the address, no page of it is
 *		there, or the mapping allows more than the page was added with
 * EINVAL	flags
 * EIO		EDBGRD or EDBGWR refuses: a part of a TCS that is not to be accessed, a page that waits for the enclave's
 *		EACCEPT, or one that was lost in a power event
 * ENOMEM	an evicted page does not fit into the EPC
 */
#define ENCLU_SGX_IOC_DEBUG_ACCESS	_IOWR(ENCLU_SGX_MAGIC, 0x2e, struct enclu_sgx_debug_access)

/*
 * Every design, in a run with `--stepping`: a hostile host.  What SGX-Step does by a kernel module and an APIC timer,
 * the machine does exactly: it executes the enclave's instructions one by one, and does at a chosen one what was
 * planned.  A plan is of a TCS, begins with the next EENTER or ERESUME there, and replaces the one before.
 */
struct enclu_sgx_step {
	__u64 tcs;	/* Address of the TCS. */
	__u64 until;	/* Instructions to execute, over all entries; ENCLU_SGX_STEP_ALWAYS for as many as there are. */
	__u64 address;	/* Or up to before the instruction here, if that is earlier; 0: none. */
	__u64 times;	/* When the thread is about to execute it for the so many-th time. */
	__u64 then;	/* What happens then. */
	__u64 signo;	/* ENCLU_SGX_STEP_INTERRUPT: a signal for the thread, which is an interrupt to the enclave. */
	__u64 vector;	/* ENCLU_SGX_STEP_RAISE: an exception of the instruction that comes next, which no host can bring */
	__u64 error_code;	/* about; but #PF, which mprotect(2) can. */
	__u64 room;	/* Instructions of which the addresses are kept, from the first on. */
	__u64 entry;	/* Address of a struct enclu_sgx_registers for the next EENTER, or 0. */
	__u64 stack;	/* Where to write at the next EENTER or ERESUME: on the caller's stack, say, which it is using now, */
	__u64 stack_from;	/* what is here, */
	__u64 stack_size;	/* so many bytes; 0: nothing. */
	__u64 clear;	/* Bytes below the untrusted stack pointer (URSP) that are zero at each entry, before that. */
	__u64 unnotified;	/* 1: the next ERESUME goes on as if nothing had interrupted; no AEX-Notify.  Else 0. */
};
#define ENCLU_SGX_STEP_ALWAYS		0xffffffffffffffff
#define ENCLU_SGX_STEP_FREE		0	/* Nothing. */
#define ENCLU_SGX_STEP_INTERRUPT	1
#define ENCLU_SGX_STEP_RAISE		2

/*
 * Registers that the enclave is entered with, instead of the thread's own, which the thread has back when it leaves;
 * and those that it leaves with.
 */
struct enclu_sgx_registers {
	__u64 which;	/* Bit i: the field that comes i-th after this one.  RAX, RBX, RCX and RIP are ENCLU's own. */
	__u64 rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15, rip;
	__u64 rflags;	/* What user mode may set of it. */
	__u64 mxcsr;
	__u64 fcw;
	__u64 x87;	/* The abridged tag word: a bit for each register that is in use. */
	__u64 vectors;	/* In: what to fill XMM and YMM registers with.  Out: XSTATE_BV. */
};

/*
 * EFAULT	a structure cannot be read, or no enclave is mapped at the TCS
 * EINVAL	`then`, `signo`, `vector`, `error_code`, `room` or `unnotified` is none, `stack_size` or `clear` is more
 *		than 8 MiB, no enclave has been created there, or `which` names ENCLU's own registers, or none
 * ENOTTY	the run has no --stepping; so have the other three
 */
#define ENCLU_SGX_IOC_STEP	_IOW(ENCLU_SGX_MAGIC, 0x30, struct enclu_sgx_step)

/* How far the plan has come. */
struct enclu_sgx_stepped {
	__u64 tcs;
	__u64 record;	/* Where to put addresses of instructions, 8 bytes each; 0: nowhere. */
	__u64 recorded;	/* In: how many there is room for.  Out: how many there are. */
	__u64 left;	/* Where to put the struct enclu_sgx_registers of the last EEXIT, if `entry` was given; 0: nowhere. */
	__u64 xsave;	/* Where to put the XSAVE image at that time; 0: nowhere. */
	__u64 xsave_size;	/* In: bytes of room.  Out: bytes that there are. */
	__u64 stopped;	/* Out: what was planned has happened. */
	__u64 executed;	/* Out: instructions.  A repetition of a string instruction is one. */
	__u64 entries;	/* Out: EENTERs and ERESUMEs. */
	__u64 drawn;	/* Out: results of RDRAND, RDSEED, RDTSC and RDTSCP that had not been recorded before. */
	__u64 has_left;	/* Out: there are registers of an EEXIT. */
	__u64 cssa;	/* Out: CSSA of the TCS. */
	__u64 rip;	/* Out: in the frame of the SSA that the last AEX has filled; 0 where CSSA is 0. */
	__u64 rsp;
	__u64 ursp;
};

/*
 * ENOENT	nothing is planned for the TCS
 */
#define ENCLU_SGX_IOC_STEPPED	_IOWR(ENCLU_SGX_MAGIC, 0x31, struct enclu_sgx_stepped)

/*
 * A copy of an enclave, whoever is interrupted in it: pages with TCSes and SSAs, EPCM entries, the rights of mappings.
 * From there on, RDRAND and its like have the results again that they had the first time.
 */
struct enclu_sgx_checkpoint {
	__u64 address;	/* In the enclave. */
	__u64 action;
	__u64 number;	/* Which of several that an enclave may have; any number. */
	__u64 pages;	/* Out: how many have changed; TAKE: how many there are. */
};
#define ENCLU_SGX_CHECKPOINT_TAKE	0
#define ENCLU_SGX_CHECKPOINT_MOVE	1	/* To the enclave as it is now. */
#define ENCLU_SGX_CHECKPOINT_RESTORE	2
#define ENCLU_SGX_CHECKPOINT_DROP	3

/*
 * EBUSY	a thread is in the enclave
 * EFAULT	no enclave is mapped there; RESTORE: parts of it have been mapped or unmapped since
 * EINVAL	no such action, or an enclave before EINIT
 * ENOENT	there is no checkpoint of it
 * ENOMEM	the enclave does not fit into the EPC
 */
#define ENCLU_SGX_IOC_CHECKPOINT	_IOWR(ENCLU_SGX_MAGIC, 0x32, struct enclu_sgx_checkpoint)

/*
 * What is in an enclave, debug or not: for who judges what an attack has done, not for the attack.
 */
struct enclu_sgx_inside {
	__u64 address;	/* In the enclave. */
	__u64 buffer;	/* Address of room for what is read. */
	__u64 length;	/* Bytes. */
};

/*
 * EFAULT	no page of an enclave is there, or the buffer cannot be written
 */
#define ENCLU_SGX_IOC_INSIDE	_IOW(ENCLU_SGX_MAGIC, 0x33, struct enclu_sgx_inside)

/*
 * Design `mm-handler`: one handler for each memory map (process), for exceptions of ENCLU.
 *
 * The target is the handler, whatever ENCLU of the program the exception is at.
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

/*
 * Design `vdso-jmp`: __vdso_sgx_enter_enclave of the vDSO is an ENCLU and, behind it, what this patches.
 *
 * The caller sets RAX to the leaf, RBX to the TCS and RCX to the AEP, which must be the function itself: only
 * exceptions at its ENCLU are fixed up.  It may call or jump there.  The processor goes on behind the ENCLU after an
 * exception, with the registers as above, and after an EEXIT, with RAX 4, if the enclave exits to the address that it
 * found in RCX.  There stands an UD2 (0F 0B, then CC CC CC), which ends in a SIGILL, until a target is set: then JMP
 * rel32 (E9 and four bytes).  A program can read these bytes.
 *
 * The jump is part of the memory map: threads share it, a forked child has a copy, exec begins with an UD2.
 */
struct enclu_sgx_vdso_target {
	__u64 target;	/* Where to jump: executable memory within 2 GiB of the jump. */
	__u64 flags;	/* No flags exist yet: 0. */
};

/*
 * Patches the UD2 into a jump to the target.
 *
 * EFAULT	the structure cannot be read, or the program has unmapped its vDSO
 * EINVAL	`target` is 0 or not a user-space address, or it is beyond the reach of JMP rel32, or nothing executable is
 *		mapped there (an enclave does not count), or `flags` is not 0
 * EBUSY	a target is set (clear it first), or the program itself has written something there
 */
#define ENCLU_SGX_IOC_SET_VDSO_TARGET	_IOW(ENCLU_SGX_MAGIC, 0x22, struct enclu_sgx_vdso_target)

/*
 * Makes the jump an UD2 again.  The argument is ignored.
 *
 * EFAULT	the program has unmapped its vDSO
 * ENOENT	no target is set
 */
#define ENCLU_SGX_IOC_CLEAR_VDSO_TARGET	_IO(ENCLU_SGX_MAGIC, 0x23)

/*
 * Design `thread-handler`: handlers for the calling thread, which nest.
 *
 * A runtime registers before it enters an enclave and unregisters afterwards.  If the enclave makes an OCALL from
 * which another enclave is entered, that runtime's handler lies on top meanwhile.  The target is the innermost handler
 * of the thread.
 *
 * A new thread has none, nor has a child of vfork(2); a forked child has a copy of those of the thread that forked;
 * exec removes all.
 */
struct enclu_sgx_thread_handler {
	__u64 handler;	/* Address of the code to go on at: a user-space address, not 0. */
	__u64 flags;	/* No flags exist yet: 0. */
};

/*
 * Registers an innermost handler.
 *
 * EFAULT	the structure cannot be read
 * EINVAL	`handler` is 0 or not a user-space address, or `flags` is not 0
 * ENOSPC	the thread has 64 handlers
 */
#define ENCLU_SGX_IOC_REGISTER_THREAD_HANDLER	_IOW(ENCLU_SGX_MAGIC, 0x24, struct enclu_sgx_thread_handler)

/*
 * Removes the innermost registration of this handler, and with it those registered since: whoever made them was left
 * by longjmp(3) or an exception and will not come back to remove them.
 *
 * EFAULT	the structure cannot be read
 * EINVAL	`handler` is 0 or not a user-space address, or `flags` is not 0
 * ENOENT	the thread has not registered this handler
 */
#define ENCLU_SGX_IOC_UNREGISTER_THREAD_HANDLER	_IOW(ENCLU_SGX_MAGIC, 0x25, struct enclu_sgx_thread_handler)

/*
 * Design `range-handler`: handlers for ranges of code, such as a library's text.
 *
 * The target is the handler whose range holds the first byte of the ENCLU.  Ranges of a memory map do not overlap, so
 * that there is at most one.  The handler itself may lie anywhere.
 *
 * Unmapping any part of a range by munmap(2), by a mapping with MAP_FIXED over it, or by mremap(2) removes the
 * registration as a whole; mprotect(2) does not.  Threads share the registrations, a forked child has a copy, exec
 * removes them.
 */
struct enclu_sgx_range_handler {
	__u64 start;	/* First byte of the range. */
	__u64 length;	/* Its size in bytes, not 0; the range ends within user space. */
	__u64 handler;	/* Address of the code to go on at: a user-space address, not 0. */
	__u64 flags;	/* No flags exist yet: 0. */
};

/* Names a registration. */
struct enclu_sgx_range {
	__u64 start;	/* As registered. */
	__u64 length;	/* As registered. */
};

/*
 * Registers a handler for a range.
 *
 * EFAULT	the structure cannot be read
 * EINVAL	the range is empty or not in user space, `handler` is 0 or not a user-space address, or `flags` is not 0
 * EEXIST	the range overlaps a registered one
 * ENOSPC	the memory map has 256 ranges
 */
#define ENCLU_SGX_IOC_REGISTER_RANGE_HANDLER	_IOW(ENCLU_SGX_MAGIC, 0x26, struct enclu_sgx_range_handler)

/*
 * Removes a registration.
 *
 * EFAULT	the structure cannot be read
 * ENOENT	no registration has exactly this start and length
 */
#define ENCLU_SGX_IOC_UNREGISTER_RANGE_HANDLER	_IOW(ENCLU_SGX_MAGIC, 0x27, struct enclu_sgx_range)

/*
 * Design `vdso-2018`: what the vDSO function stores when it returns -EFAULT.
 */
struct enclu_sgx_enclave_exception {
	__u32 leaf;		/* RAX of the exception: 2 (EENTER) or 3 (ERESUME). */
	__u16 trapnr;		/* Trap number. */
	__u16 error_code;	/* Error code, 0 where the exception has none. */
	__u64 address;		/* Address that the access faulted on (#PF), else 0. */
};

/*
 * Design `vdso-2018`: the type of __vdso_sgx_enter_enclave, which enters the enclave by EENTER with `priv` in RDI and
 * resumes it after interrupts.  Callee-saved registers are kept; the enclave must leave RSP and RBP as it found them,
 * and the direction flag clear.
 *
 * Returns 0 after an EEXIT, -EFAULT after an exception, which it tells in `*info` unless `info` is null.
 */
typedef int (*enclu_vdso_2018_enter_enclave_t)(void *tcs, void *priv, struct enclu_sgx_enclave_exception *info);

#endif
