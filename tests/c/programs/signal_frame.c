/* A signal that interrupts an enclave shows its handler the synthetic state of the AEX: no register of the enclave. */
#include "enclave.h"

#include <sys/syscall.h>

#define SECRET 0x5ec4e7c0ffee1234ull
#define XSTATE_MAGIC 0x46505853

static volatile int seen;
static volatile uint32_t flag;
static greg_t gregs[NGREG];
static siginfo_t info;
static uint8_t fp[1024];

static void handler(int signo, siginfo_t *given, void *context)
{
	ucontext_t *uc = context;

	(void)signo;
	if (seen || uc->uc_mcontext.gregs[REG_RIP] != (greg_t)raw_once_aep)
		return; /* asynchronous, before or after the enclave */
	memcpy(gregs, uc->uc_mcontext.gregs, sizeof(gregs));
	memcpy(fp, uc->uc_mcontext.fpregs, sizeof(fp));
	info = *given;
	seen++;
	flag = 1;
}

static void check(const char *name, struct enclave *enclave, uint16_t fcw, uint16_t fsw, uint32_t mxcsr)
{
	static const int zero[] = { REG_RDX, REG_RSI, REG_RDI, REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15 };
	struct _libc_fpstate *f = (void *)fp;
	uint8_t none[256] = { 0 };
	uint64_t xstate_bv;
	int others = 0;

	printf("# %s\n", name);
	ok(seen == 1, "one signal at the AEP");
	ok_eq(gregs[REG_RAX], ERESUME, "RAX");
	ok_eq(gregs[REG_RBX], (uint64_t)enclave_tcs(enclave, 0), "RBX");
	ok_eq(gregs[REG_RCX], (uint64_t)raw_once_aep, "RCX");
	for (int i = 0; i < 11; i++)
		others += gregs[zero[i]] != 0;
	ok_eq(others, 0, "the other general registers are 0");
	ok(llabs(gregs[REG_RSP] - (int64_t)&xstate_bv) < 16384, "RSP is on the program's stack");
	ok_eq(gregs[REG_EFL] & 0x8d5, 0, "no arithmetic flags");
	ok_eq(f->cwd, fcw, "FCW");
	ok_eq(f->swd, fsw, "FSW");
	ok_eq(f->mxcsr, mxcsr, "MXCSR");
	ok(!memcmp(f->_st, none, 128), "x87 registers are 0");
	ok(!memcmp(f->_xmm, none, 256), "XMM registers are 0");
	memcpy(&xstate_bv, fp + 512, 8);
	ok(*(uint32_t *)(fp + 464) != XSTATE_MAGIC || !(xstate_bv & 4) || !memcmp(fp + 576, none, 256), "YMM registers are 0");
}

static void run(struct enclave *enclave, struct request request)
{
	struct raw_fault fault;
	uint64_t leaf = EENTER;

	seen = 0;
	while (raw_enter_once(leaf, enclave_tcs(enclave, 0), &request, &fault) == RAW_AEX && !seen)
		leaf = ERESUME;
	__asm__ volatile("fninit");
}

static void *kill_main(void *pid)
{
	while (!seen) {
		usleep(1000);
		syscall(SYS_tgkill, getpid(), (pid_t)(uint64_t)pid, SIGUSR1);
	}
	return NULL;
}

int main(void)
{
	struct enclave_options options = { .xfrm = __builtin_cpu_supports("avx") ? 7 : 3 };
	static struct state in, out;
	struct request state = { .op = OP_STATE, .a = (uint64_t)&in, .c = (uint64_t)&out, .d = options.xfrm == 7 };
	struct enclave enclave;
	pthread_t thread;

	for (int i = 0; i < 16; i++) {
		in.gpr[i] = SECRET;
		for (int j = 0; j < 4; j++)
			memcpy(in.vector[i] + 8 * j, &in.gpr[i], 8);
	}
	in.x87 = 2.5;
	handle(SIGILL, handler);
	handle(SIGFPE, handler);
	handle(SIGUSR1, handler);

	enclave_load(&enclave, &options);
	run(&enclave, state);
	check("#UD", &enclave, 0x37f, 0, 0x1fb0);
	ok(info.si_signo == SIGILL && info.si_code == ILL_ILLOPN && info.si_addr == raw_once_aep, "siginfo");
	ok(gregs[REG_TRAPNO] == 6 && gregs[REG_ERR] == 0, "trapno and err");
	enclave_unload(&enclave);

	enclave_load(&enclave, &options);
	run(&enclave, (struct request){ .op = OP_X87_FAULT });
	check("#MF: FCW and FSW tell of an invalid operation, whatever it was", &enclave, 0x37e, 0x8081, 0x1fb0);
	ok(info.si_signo == SIGFPE && info.si_code == FPE_FLTINV && info.si_addr == raw_once_aep, "siginfo");
	ok(gregs[REG_TRAPNO] == 16 && gregs[REG_ERR] == 0, "trapno and err");
	enclave_unload(&enclave);

	enclave_load(&enclave, &options);
	run(&enclave, (struct request){ .op = OP_SIMD_FAULT });
	check("#XM: MXCSR tells of an invalid operation", &enclave, 0x37f, 0, 0x1f01);
	ok(info.si_signo == SIGFPE && info.si_code == FPE_FLTINV && info.si_addr == raw_once_aep, "siginfo");
	ok(gregs[REG_TRAPNO] == 19 && gregs[REG_ERR] == 0, "trapno and err");
	enclave_unload(&enclave);

	enclave_load(&enclave, &options);
	state.b = (uint64_t)&flag;
	in.gpr[6] = state.b;
	seen = flag = 0;
	pthread_create(&thread, NULL, kill_main, (void *)(uint64_t)getpid());
	run(&enclave, state);
	pthread_join(thread, NULL);
	check("a signal that another thread sent", &enclave, 0x37f, 0, 0x1fb0);
	ok(info.si_signo == SIGUSR1 && info.si_code == SI_TKILL, "siginfo");
	return done();
}
