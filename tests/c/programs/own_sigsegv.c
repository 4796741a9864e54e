/* A program's own SIGSEGV handler works as ever outside enclaves, between entries. */
#include "enclave.h"

static char *page;
static volatile int repaired, trapno;
static volatile void *where;

static void repair(int signo, siginfo_t *info, void *context)
{
	(void)signo;
	repaired++;
	where = info->si_addr;
	trapno = ((ucontext_t *)context)->uc_mcontext.gregs[REG_TRAPNO];
	mprotect(page, PAGE, PROT_READ | PROT_WRITE);
}

int main(void)
{
	struct request request = { .op = OP_ADD, .a = 1, .b = 1 };
	struct enclave enclave;
	struct raw_fault fault;

	handle(SIGSEGV, repair);
	enclave_load(&enclave, NULL);
	for (int i = 1; i <= 3; i++) {
		page = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		page[5] = i;
		ok_eq(repaired, i, "handler ran");
		ok_eq((uint64_t)where, (uint64_t)page + 5, "si_addr is exact outside");
		ok_eq(trapno, 14, "trapno");
		ok_eq(raw_enter_count(EENTER, enclave_tcs(&enclave, 0), &request, &fault), RAW_EXITED, "entered");
	}
	return done();
}
