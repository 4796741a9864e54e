/* For programs about the designs: has an enclave raise an exception, and tells what the program met. */
#ifndef ENCLU_TESTS_FAULT_H
#define ENCLU_TESTS_FAULT_H

#include "enclave.h"

#include "enclu_sgx.h"

/* What raw_enter_at() returns: the target that a design gives is raw_faulted, and the signal handler goes elsewhere. */
enum met { MET_NOTHING = RAW_EXITED, MET_SIGNAL = RAW_AEX, MET_HANDLER = RAW_FAULTED };

static volatile struct { int signo; uint64_t rip, rax, trapno; } caught;

static void leave_by_signal(int signo, siginfo_t *info, void *context)
{
	greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;

	(void)info;
	caught.signo = signo;
	caught.rip = registers[REG_RIP];
	caught.rax = registers[REG_RAX];
	caught.trapno = registers[REG_TRAPNO];
	registers[REG_RIP] = (greg_t)raw_once_aep;
}

/* From now on exceptions that become signals are MET_SIGNAL, and `caught` tells them. */
static inline void catch_signals(void)
{
	handle(SIGILL, leave_by_signal);
	handle(SIGSEGV, leave_by_signal);
	handle(SIGFPE, leave_by_signal);
	handle(SIGTRAP, leave_by_signal);
	handle(SIGBUS, leave_by_signal);
}

/* The enclave, entered at `enclu`, executes an UD2; afterwards it is as before. */
static inline enum met meet_ud2(struct enclave *enclave, void *enclu, struct raw_fault *fault)
{
	struct request request = { .op = OP_UD2 }, skip = { .op = OP_FIX_RIP, .a = 2 };
	struct raw_fault unused;
	void *tcs = enclave_tcs(enclave, 0);
	int met = raw_enter_at(EENTER, tcs, &request, fault ? fault : &unused, enclu);

	if (met != MET_NOTHING && raw_enter_at(EENTER, tcs, &skip, &unused, enclu) == RAW_EXITED)
		raw_enter_at(ERESUME, tcs, &request, &unused, enclu);
	return met;
}

/* EENTER at `enclu` itself faults: what RBX points to is no TCS. */
static inline enum met meet_bad_tcs(struct enclave *enclave, void *enclu, struct raw_fault *fault)
{
	struct request request = { .op = OP_NOP };

	return raw_enter_at(EENTER, enclave->base + enclave->data, &request, fault, enclu);
}

/* Checks what a handler got of meet_ud2() and meet_bad_tcs(). */
static inline void expect_both(struct enclave *enclave, void *enclu, const char *name)
{
	struct raw_fault fault = { 0 };

	printf("# %s\n", name);
	ok_eq(meet_ud2(enclave, enclu, &fault), MET_HANDLER, "UD2 in the enclave: the handler");
	ok_eq(fault.leaf, ERESUME, "RAX: ERESUME, after an AEX");
	ok_eq(fault.vector, 6, "RDI: #UD");
	ok_eq(fault.error, 0, "RSI: no error code");
	ok_eq(fault.address, 0, "RDX: no address");
	ok_eq(fault.rbx, (uint64_t)enclave_tcs(enclave, 0), "RBX: the TCS");
	ok_eq(fault.rcx, (uint64_t)enclu, "RCX: the AEP");
	ok_eq(meet_bad_tcs(enclave, enclu, &fault), MET_HANDLER, "EENTER of no TCS: the handler");
	ok_eq(fault.leaf, EENTER, "RAX: EENTER itself faulted");
	ok_eq(fault.vector, 14, "RDI: #PF");
	ok_eq(fault.address, (uint64_t)enclave->base + enclave->data, "RDX: the address");
}

/* Exit status of `body` in a forked child. */
static inline int in_child(int (*body)(void))
{
	int status;
	pid_t child;

	fflush(stdout);
	child = fork();
	if (!child)
		_exit(body());
	waitpid(child, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

/* For in_child(): this program anew, with an argument. */
static inline int exec_again(void)
{
	execl("/proc/self/exe", "again", "again", NULL);
	return 1;
}

#endif
