/* Raw ENCLU: the signal handler of an enclave's exception sees the state after the AEX, nothing of the enclave. */
#include "enclave.h"

#define SECRET 0x5ec4e7c0ffee1234ull

static volatile int seen, last_signo, trapno, error;
static volatile uint64_t address, rip, rax, rbx, rcx;
static volatile bool leaked;
static struct state in, out;

static void handler(int signo, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;
	greg_t *r = uc->uc_mcontext.gregs;

	(void)info;
	seen++;
	last_signo = signo;
	trapno = r[REG_TRAPNO];
	error = r[REG_ERR];
	address = r[REG_CR2];
	rip = r[REG_RIP];
	rax = r[REG_RAX];
	rbx = r[REG_RBX];
	rcx = r[REG_RCX];
	for (int i = 0; i <= REG_RIP; i++)
		leaked |= (uint64_t)r[i] >> 32 == SECRET >> 32;
	for (int i = 0; i < 16; i++)
		leaked |= uc->uc_mcontext.fpregs->_xmm[i].element[1] == (uint32_t)(SECRET >> 32);
}

static void expect(const char *name, struct request request, int signo, int vector, int err)
{
	struct enclave enclave;
	struct raw_fault fault;
	int result;

	printf("# %s\n", name);
	enclave_load(&enclave, NULL);
	seen = 0;
	result = raw_enter_once(EENTER, enclave_tcs(&enclave, 0), &request, &fault);
	/* A fault that the kernel resolved is an AEX without a signal. */
	while (result == RAW_AEX && !seen)
		result = raw_enter_once(ERESUME, enclave_tcs(&enclave, 0), &request, &fault);
	ok_eq(result, RAW_AEX, "went on at the AEP");
	ok_eq(seen, 1, "one signal");
	ok_eq(last_signo, signo, "signal");
	ok_eq(trapno, vector, "trapno");
	ok_eq(error, err, "err");
	ok_eq(rip, (uint64_t)raw_once_aep, "RIP is the AEP");
	ok_eq(rax, ERESUME, "RAX is ERESUME");
	ok_eq(rbx, (uint64_t)enclave_tcs(&enclave, 0), "RBX is the TCS");
	ok_eq(rcx, (uint64_t)raw_once_aep, "RCX is the AEP");
	enclave_unload(&enclave);
}

int main(void)
{
	char *hole = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	munmap(hole, PAGE);
	handle(SIGILL, handler);
	handle(SIGSEGV, handler);
	handle(SIGFPE, handler);
	handle(SIGTRAP, handler);
	for (int i = 0; i < 16; i++) {
		in.gpr[i] = SECRET;
		for (int j = 0; j < 4; j++)
			memcpy(in.vector[i] + 8 * j, &in.gpr[i], 8);
	}
	expect("registers full of secrets, UD2",
	       (struct request){ .op = OP_STATE, .a = (uint64_t)&in, .c = (uint64_t)&out }, SIGILL, 6, 0);
	ok(!leaked, "no secret in the signal frame");
	expect("division by zero", (struct request){ .op = OP_DIV0 }, SIGFPE, 0, 0);
	expect("non-canonical address", (struct request){ .op = OP_GP }, SIGSEGV, 13, 0);
	expect("INT3, which is #UD after an opt-out entry", (struct request){ .op = OP_INT3 }, SIGILL, 6, 0);
	expect("read of a hole", (struct request){ .op = OP_READ, .a = (uint64_t)hole + 8 }, SIGSEGV, 14, 4);
	ok_eq(address, (uint64_t)hole, "CR2 has the page only");
	expect("write of a hole", (struct request){ .op = OP_WRITE, .a = (uint64_t)hole }, SIGSEGV, 14, 6);
	return done();
}
