/*
 * A forked child sees the enclave's addresses and may not enter; the parent still may. What it reads or writes there is
 * what it is where Linux had no memory to note the child's enclave (sgx_vma_open(), sgx_vma_fault()).
 */
#include "enclave.h"

#include <setjmp.h>

static sigjmp_buf out;
static volatile int caught, code;
static void *volatile where;

static void on_fault(int signo, siginfo_t *info, void *context)
{
	(void)context;
	caught = signo;
	code = info->si_code;
	where = info->si_addr;
	siglongjmp(out, 1);
}

static bool faults(volatile uint8_t *address, bool write, int signo, int with)
{
	caught = 0;
	if (!sigsetjmp(out, 1)) {
		if (write)
			*address = 1;
		else
			(void)*address;
	}
	return caught == signo && code == with && where == address;
}

/* As what the child ends. */
static int touch(const struct enclave *enclave)
{
	uint8_t *tcs = enclave_tcs(enclave, 0);

	handle(SIGBUS, on_fault);
	handle(SIGSEGV, on_fault);
	if (!faults(tcs, false, SIGBUS, BUS_ADRERR))
		return 1;
	if (!faults(tcs + 8, true, SIGBUS, BUS_ADRERR))
		return 2;
	mprotect(tcs, PAGE, PROT_READ);
	if (!faults(tcs, true, SIGSEGV, SEGV_ACCERR))
		return 3;
	return faults(tcs, false, SIGBUS, BUS_ADRERR) ? 0 : 4;
}

int main(void)
{
	struct request request = { .op = OP_ADD, .a = 1, .b = 2 };
	struct enclave enclave;
	int status;
	pid_t child;

	enclave_load(&enclave, NULL);
	expect_exit("before the fork", attempt(enclave_tcs(&enclave, 0), &request, EENTER));
	fflush(stdout);
	child = fork();
	if (!child) {
		struct outcome got = attempt(enclave_tcs(&enclave, 0), &request, EENTER);

		_exit(got.function == EENTER && got.vector == 14 ? 42 : 1);
	}
	waitpid(child, &status, 0);
	ok_eq(status, 42 << 8, "#PF in the child");
	fflush(stdout);
	child = fork();
	if (!child)
		_exit(touch(&enclave));
	waitpid(child, &status, 0);
	ok_eq(status, 0, "SIGBUS where the child touches it, SIGSEGV where its VMA forbids that");
	ok_eq(ask(enclave_tcs(&enclave, 0), OP_ADD, 5, 2, 0), 7, "after the fork");
	return done();
}
