/*
 * A program's own seccomp filter: what it traps, refuses, kills for and wants traced is as without enclu; SGX goes on
 * working, with more pages than the EPC has (run with --epc 2M).
 */
#include "enclave.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

static volatile int trapped;

static void handler(int signo, siginfo_t *info, void *context)
{
	(void)signo, (void)context;
	trapped = info->si_syscall;
}

#define PAGES 600

#define ON(call, action) \
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1), BPF_STMT(BPF_RET | BPF_K, action)

int main(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		ON(SYS_getppid, SECCOMP_RET_TRAP),
		ON(SYS_stat, SECCOMP_RET_ERRNO | EPERM),  /* enclu traces this one */
		ON(SYS_lstat, SECCOMP_RET_TRACE | 3),     /* and this one */
		ON(SYS_getpgrp, SECCOMP_RET_TRACE),       /* but not this one */
		ON(SYS_mprotect, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof(filter) / sizeof(*filter), filter };
	struct request request = { .op = OP_ADD, .a = 1, .b = 1 };
	struct enclave_options options = { .heap_pages = PAGES };
	struct enclave enclave;
	uint8_t buffer[256];
	uint64_t bad = 0;

	handle(SIGSYS, handler);
	enclave_load(&enclave, &options);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	ok_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0, "filter installed");
	syscall(SYS_getppid);
	ok_eq(trapped, SYS_getppid, "SIGSYS");
	ok(syscall(SYS_stat, "/", buffer) == -1 && errno == EPERM, "refused");
	ok(syscall(SYS_lstat, "/", buffer) == -1 && errno == ENOSYS, "to be traced, but nobody does");
	ok(syscall(SYS_getpgrp) == -1 && errno == ENOSYS, "the same");
	ok_eq(enclave_call(enclave_tcs(&enclave, 0), &request, NULL), 0, "entered");
	ok_eq(request.result, 2, "and back");
	request.op = OP_READ;
	for (uint64_t i = 0; i < 2 * PAGES; i++) {
		request.a = (uint64_t)enclave.base + enclave.heap + i % PAGES * PAGE;
		bad += enclave_call(enclave_tcs(&enclave, 0), &request, NULL) != 0 || request.result != 0;
	}
	ok_eq(bad, 0, "pages come and go");
	return done();
}
