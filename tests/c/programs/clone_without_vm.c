/* clone() without CLONE_VM is a fork; with CLONE_VM but not CLONE_THREAD the child shares the enclave, and may enter. */
#include "enclave.h"

#include <sched.h>

static struct enclave enclave;
static uint64_t result;

static int child(void *unused)
{
	struct request request = { .op = OP_ADD, .a = 20, .b = 22 };
	struct outcome got = attempt(enclave_tcs(&enclave, 1), &request, EENTER);

	(void)unused;
	result = request.result;
	return got.function == EEXIT ? 42 : got.function == EENTER && got.vector == 14 ? 14 : 1;
}

static int status_of(int flags)
{
	static char stack[65536] __attribute__((aligned(16)));
	int status = -1;
	pid_t pid = clone(child, stack + sizeof(stack), flags | SIGCHLD, NULL);

	waitpid(pid, &status, 0);
	return status;
}

int main(void)
{
	enclave_load(&enclave, NULL);
	ask(enclave_tcs(&enclave, 0), OP_NOP, 0, 0, 0);
	ok_eq(status_of(0), 14 << 8, "without CLONE_VM: #PF, as after fork");
	ok_eq(status_of(CLONE_FILES), 14 << 8, "sharing files makes no difference");
	ok_eq(status_of(CLONE_VM), 42 << 8, "with CLONE_VM: entered");
	ok_eq(result, 42, "result");
	ok_eq(status_of(CLONE_VM | CLONE_VFORK), 42 << 8, "like vfork: entered");
	ok_eq(ask(enclave_tcs(&enclave, 0), OP_ADD, 1, 2, 0), 3, "the parent enters, still");
	return done();
}
