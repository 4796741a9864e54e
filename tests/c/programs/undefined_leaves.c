/* ENCLU of a leaf that does not exist, or not outside an enclave, is #GP: no design fixes that up. */
#include "enclave.h"

static volatile int vector, code;
static volatile uint64_t rip, rax;

static void on_segv(int signo, siginfo_t *info, void *context)
{
	greg_t *r = ((ucontext_t *)context)->uc_mcontext.gregs;

	(void)signo;
	vector = r[REG_TRAPNO];
	code = info->si_code;
	rip = r[REG_RIP];
	rax = r[REG_RAX];
	r[REG_RIP] = (greg_t)raw_faulted;
}

int main(void)
{
	static const uint64_t leaves[] = { 0, 1, 4, 5, 6, 7, 8, 9, 10, 0xffffffff };
	struct request request = { .op = OP_ADD, .a = 1, .b = 2 };
	struct enclave enclave;
	struct raw_fault fault;

	handle(SIGSEGV, on_segv);
	enclave_load(&enclave, NULL);
	for (int i = 0; i < 10; i++) {
		vector = 0;
		ok_eq(raw_enter_once(leaves[i], enclave_tcs(&enclave, 0), &request, &fault), RAW_FAULTED, "refused");
		ok(vector == 13 && code == SI_KERNEL && rip == (uint64_t)raw_once_enclu && rax == leaves[i],
		   "leaf %#llx: #GP at the ENCLU, registers kept", (unsigned long long)leaves[i]);
	}
	ok_eq(raw_enter_count(0xffffffff00000002, enclave_tcs(&enclave, 0), &request, &fault), RAW_EXITED,
	      "only EAX tells the leaf");
	ok_eq(request.result, 3, "EENTER");
	return done();
}
