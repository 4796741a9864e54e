/* The vdso-2018 design: __vdso_sgx_enter_enclave(tcs, priv, info) returns -EFAULT and tells the exception in info. */
#include "fault.h"

#include <sys/time.h>

static struct enclave enclave;
static enclu_vdso_2018_enter_enclave_t enter;
static int frames_used;
static volatile uint32_t flag;

/* A TCS with a frame left: each exception that is not repaired uses one up. */
static void *fresh_tcs(void) { return enclave_tcs(&enclave, frames_used++ / TEST_SSA_FRAMES); }

static void expect(const char *name, uint64_t op, uint64_t a, int trapnr, int error_code, uint64_t address)
{
	struct request request = { .op = op, .a = a };
	struct enclu_sgx_enclave_exception info;

	printf("# %s\n", name);
	memset(&info, 0xff, sizeof(info));
	ok_eq(enter(fresh_tcs(), &request, &info), -EFAULT, "-EFAULT");
	ok_eq(info.leaf, ERESUME, "leaf: ERESUME, after an AEX");
	ok_eq(info.trapnr, trapnr, "trap number");
	ok_eq(info.error_code, error_code, "error code");
	ok_eq(info.address, address, "address");
}

static void on_alarm(int signo, siginfo_t *info, void *context)
{
	(void)signo, (void)info, (void)context;
	flag = 1;
}

static int child(void)
{
	struct request request = { .op = OP_NOP };
	struct enclu_sgx_enclave_exception info;

	return enter(enclave_tcs(&enclave, 3), &request, &info) == -EFAULT && info.leaf == EENTER && info.trapnr == 14 ? 42 : 1;
}

int main(int argc, char **argv)
{
	struct request add = { .op = OP_ADD, .a = 4, .b = 5 }, spin = { .op = OP_SPIN, .a = (uint64_t)&flag };
	struct request breakpoint = { .op = OP_INT3 };
	struct itimerval soon = { .it_value.tv_usec = 1000 };
	struct enclu_sgx_enclave_exception info;
	char *hole;

	(void)argv;
	enclave_load(&enclave, NULL);
	enter = (enclu_vdso_2018_enter_enclave_t)vdso_symbol("__vdso_sgx_enter_enclave");
	memset(&info, 0xff, sizeof(info));
	ok_eq(enter(enclave_tcs(&enclave, 3), &add, &info), 0, "0 after an exit");
	ok_eq(add.result, 9, "priv reached the enclave");
	ok_eq(info.leaf, 0xffffffff, "nothing was stored");
	if (argc > 1)
		return 42;

	hole = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	munmap(hole, PAGE);
	expect("#UD", OP_UD2, 0, 6, 0, 0);
	expect("#DE", OP_DIV0, 0, 0, 0, 0);
	expect("#GP", OP_GP, 0, 13, 0, 0);
	expect("#MF", OP_X87_FAULT, 0, 16, 0, 0);
	expect("#XM", OP_SIMD_FAULT, 0, 19, 0, 0);
	expect("#PF", OP_WRITE, (uint64_t)hole + 0x128, 14, 6, (uint64_t)hole);
	add.op = OP_UD2;
	ok_eq(enter(fresh_tcs(), &add, NULL), -EFAULT, "info may be null");
	add.op = OP_ADD;

	ok_eq(enter(enclave.base + enclave.data, &add, &info), -EFAULT, "EENTER of no TCS");
	ok_eq(info.leaf, EENTER, "leaf: EENTER itself faulted");
	ok_eq(info.trapnr, 14, "#PF");
	ok_eq(info.address, (uint64_t)enclave.base + enclave.data, "address");
	ok_eq(enter((uint8_t *)enclave_tcs(&enclave, 3) + 8, &add, &info), -EFAULT, "EENTER of a TCS that is not aligned");
	ok_eq(info.leaf, EENTER, "leaf: EENTER itself faulted");
	ok_eq(info.trapnr, 13, "#GP");

	ok_eq(enter(enclave_tcs(&enclave, 3), &breakpoint, &info), -EFAULT, "INT3 in the enclave");
	ok_eq(info.trapnr, 6, "#UD, as no enclave here opts in to debugging");
	handle(SIGALRM, on_alarm);
	setitimer(ITIMER_REAL, &soon, NULL);
	ok_eq(enter(enclave_tcs(&enclave, 3), &spin, &info), 0, "interrupted, resumed");
	catch_signals();
	ok_eq(meet_ud2(&enclave, raw_direct_enclu, NULL), MET_SIGNAL, "the program's own ENCLU: a signal");

	ok_eq(in_child(child), 42, "a forked child has the function, and #PF");
	ok_eq(in_child(exec_again), 42, "exec begins anew");
	ok_eq(enter(enclave_tcs(&enclave, 3), &add, &info), 0, "the parent goes on");
	return done();
}
