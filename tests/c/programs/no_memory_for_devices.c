/* The host kernel has no memory or no files for what stands for the device: open says so, and works when it has again. */
#include "enclave.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

/* A filter of the program's own is asked about the machine's calls, too, and so plays the kernel here. */
static int child(int error)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_memfd_create, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof(filter) / sizeof(*filter), filter };

	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		return -1;
	for (int i = 0; i < 3; i++)
		if (open("/dev/sgx_enclave", O_RDWR) >= 0 || errno != error)
			return 1;
	return open("/dev/null", O_RDWR) < 0 ? 2 : 0;
}

int main(void)
{
	static const int errors[] = { ENFILE, ENOMEM, EMFILE };
	int status;

	for (unsigned i = 0; i < sizeof(errors) / sizeof(*errors); i++) {
		fflush(stdout);
		if (!fork())
			_exit(child(errors[i]));
		wait(&status);
		ok_eq(status, 0, strerror(errors[i]));
	}
	ok(open("/dev/sgx_enclave", O_RDWR) >= 0, "others can open it");
	return done();
}
