/* Enclaves of processes in which nobody else can be made: by a limit of processes, and by a seccomp filter of their own. */
#include "enclave.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

static int use(void)
{
	struct enclave_options options = { .heap_pages = 20 };
	struct enclave enclave;

	enclave_load(&enclave, &options);
	for (uint64_t i = 0; i < 20; i++)
		ask(enclave_tcs(&enclave, 0), OP_WRITE, (uint64_t)enclave.base + enclave.heap + i * PAGE, i, 0);
	return ask(enclave_tcs(&enclave, 0), OP_ADD, 40, 2, 0) != 42;
}

/* Another user may not go where the file is. */
static void keep(const char *variable)
{
	char name[32];

	snprintf(name, sizeof name, "/proc/self/fd/%d", open(getenv(variable), O_RDONLY));
	setenv(variable, name, 1);
}

/* It does not hold for root. */
static void limit(void)
{
	struct rlimit none = { 0, 0 };

	keep("ENCLU_TEST_ENCLAVE");
	keep("ENCLU_TEST_KEY");
	setrlimit(RLIMIT_NPROC, &none);
	if (!getuid()) {
		setgid(65534);
		setuid(65534);
		prctl(PR_SET_DUMPABLE, 1); /* else /proc is not its own */
	}
}

static void filter(int nr, uint32_t action)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, action),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof code / sizeof *code, code };

	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

static void deny_clone(void)
{
	filter(SYS_clone, SECCOMP_RET_ERRNO | EPERM);
}

static void deny_close_range(void)
{
	filter(436, SECCOMP_RET_ERRNO | ENOSYS);
}

static void in_a_child(const char *name, void (*prepare)(void))
{
	pid_t child = fork();
	int status;

	if (!child) {
		prepare();
		_exit(use());
	}
	waitpid(child, &status, 0);
	ok_eq(status, 0, name);
}

int main(void)
{
	in_a_child("no process more", limit);
	in_a_child("clone denied", deny_clone);
	in_a_child("close_range denied", deny_close_range);
	return done();
}
