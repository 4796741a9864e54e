/* A difference from hardware, with its abort page: code outside that touches a TCS or a pending page gets SIGSEGV. */
#include "enclave.h"

#include <setjmp.h>

static sigjmp_buf back;
static siginfo_t info;
static uint64_t error;

static void on_segv(int signo, siginfo_t *given, void *context)
{
	(void)signo;
	info = *given;
	error = ((ucontext_t *)context)->uc_mcontext.gregs[REG_ERR];
	siglongjmp(back, 1);
}

static bool readable(const void *address)
{
	if (sigsetjmp(back, 1))
		return false;
	*(volatile const char *)address;
	return true;
}

int main(void)
{
	struct enclave_options options = { .spare_pages = 1 };
	struct enclave enclave;

	handle(SIGSEGV, on_segv);
	enclave_load(&enclave, &options);
	ok(readable(enclave.base + enclave.text), "a regular page is read");
	ok(!readable(enclave_tcs(&enclave, 0)), "a TCS is not");
	ok(info.si_code == SEGV_ACCERR && info.si_addr == enclave_tcs(&enclave, 0), "siginfo");
	ok_eq(error & 4, 4, "err");
	ok(!readable(enclave.base + enclave.spare), "nor a page that its fault adds, pending");
	ok(info.si_code == SEGV_ACCERR && info.si_addr == enclave.base + enclave.spare, "siginfo");
	return done();
}
