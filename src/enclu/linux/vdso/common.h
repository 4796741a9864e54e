/*
 * What every vDSO image has: names for the host kernel's functions, and stubs for the supervisor.
 *
 * The host's functions are never copied: they read data pages at fixed distances from themselves.  A symbol here
 * leads to the function in the host's own vDSO, which stays mapped: image.py sets st_value to the distance.
 * Until then it leads to a UD2.
 */

/* A host function, exported as __vdso_NAME and, weakly, as NAME. */
.macro HOST_FUNCTION name
	.globl	__vdso_\name
	.type	__vdso_\name, @function
__vdso_\name:
	ud2
	.size	__vdso_\name, . - __vdso_\name
	.weak	\name
	.set	\name, __vdso_\name
.endm

/* Where execution goes on when the instruction at `insn` raises an exception. */
.macro EXTABLE insn, fixup
	.pushsection .extable, "", @progbits
	.quad	\insn, \fixup
	.popsection
.endm

/* A stub for the supervisor; found by its name in .symtab, invisible to programs. */
.macro STUB name
	.balign	16
	.type	\name, @function
\name:
.endm

	.section .note.GNU-stack, "", @progbits

	.section .host, "ax", @progbits
	HOST_FUNCTION clock_gettime
	HOST_FUNCTION clock_getres
	HOST_FUNCTION gettimeofday
	HOST_FUNCTION time
	HOST_FUNCTION getcpu
	HOST_FUNCTION getrandom

	.text

/* Executes one system call and stops.  The registers are set by the supervisor; nobody called, so nobody to unwind to. */
STUB enclu_syscall
	.cfi_startproc
	.cfi_undefined %rip
	syscall
	int3
	.cfi_endproc
	.size	enclu_syscall, . - enclu_syscall

/* mprotect of one range after the other.  RBX: start, length and protection of each, RBP: their end; results replace starts. */
STUB enclu_protect
	.cfi_startproc
	.cfi_undefined %rip
1:	mov	$10, %eax		/* __NR_mprotect */
	mov	(%rbx), %rdi
	mov	8(%rbx), %rsi
	mov	16(%rbx), %rdx
	syscall
	mov	%rax, (%rbx)
	add	$24, %rbx
	cmp	%rbp, %rbx
	jb	1b
	int3
enclu_protected:
	.cfi_endproc
	.size	enclu_protect, . - enclu_protect

/* A signal handler that never gets anywhere: for making the host kernel build a signal frame. */
STUB enclu_handler
	.cfi_startproc
	.cfi_undefined %rip
1:	int3
	jmp	1b
	.cfi_endproc
	.size	enclu_handler, . - enclu_handler

/* Leaves a signal frame.  Unwinders know it by these very bytes, which are those of libc's own restorer. */
	nop
STUB enclu_sigreturn
	.byte	0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0		/* mov $__NR_rt_sigreturn, %rax */
	syscall
	.size	enclu_sigreturn, . - enclu_sigreturn

/*
 * Looks at the path of a system call, for native/path_calls.py.  RCX: the slot.  Goes on at the call in the slot, or,
 * if the path ends like one that enclu answers for, at the call in the slot's twin, which stops for the supervisor.
 * Changes RCX, R11 and the flags.  When the path cannot be read, the supervisor goes on at enclu_path_pass.
 */
.macro LOOK_AT register
STUB enclu_path_\register
	.cfi_startproc
	.cfi_undefined %rip
	mov	%\register, %r11
enclu_path_load_\register:
	cmpb	$0, (%r11)
	je	1f
	inc	%r11
	jmp	enclu_path_load_\register
1:	sub	$4, %r11
	cmp	%\register, %r11
	jb	enclu_path_pass
	mov	(%r11), %r11d
	cmp	$0x6576616c, %r11d	/* "lave": /dev/sgx_enclave, /dev/sgx/enclave */
	je	enclu_path_stop
	cmp	$0x6e6f6973, %r11d	/* "sion": /dev/sgx_provision, /dev/sgx/provision */
	je	enclu_path_stop
	cmp	$0x6f666e69, %r11d	/* "info": /proc/cpuinfo */
	je	enclu_path_stop
	cmp	$0x76787561, %r11d	/* "auxv": /proc/PID/auxv */
	je	enclu_path_stop
	cmp	$0x73657479, %r11d	/* "ytes": /sys/devices/system/node/nodeN/x86/sgx_total_bytes */
	je	enclu_path_stop
	cmp	$0x3638782f, %r11d	/* "/x86": the directory of that */
	je	enclu_path_stop
	cmp	$0x63706576, %r11d	/* "vepc": /dev/sgx_vepc */
	je	enclu_path_stop
	jmp	enclu_path_pass
	.cfi_endproc
	.size	enclu_path_\register, . - enclu_path_\register
.endm

	LOOK_AT	rdi
	LOOK_AT	rsi

STUB enclu_path_pass
	lea	8(%rcx), %rcx
	jmp	*%rcx
STUB enclu_path_stop
	lea	0x8008(%rcx), %rcx
	jmp	*%rcx

#include "in_process.h"
#include "add_queue.h"
