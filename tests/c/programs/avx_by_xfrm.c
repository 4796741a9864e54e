/* AVX state is the enclave's only if XFRM has it: without, the program's own upper halves stay through AEX and ERESUME. */
#include "enclave.h"

static volatile uint32_t flag;
static volatile int seen;
static uint8_t upper[16];

static void on_signal(int signo, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	(void)signo, (void)info;
	if (uc->uc_mcontext.gregs[REG_RIP] != (greg_t)raw_count_aep)
		return;
	memcpy(upper, (uint8_t *)uc->uc_mcontext.fpregs + 576 + 6 * 16, 16);
	seen++;
	flag = seen > 3;
}

static void *signaller(void *thread)
{
	while (!flag) {
		pthread_kill(*(pthread_t *)thread, SIGUSR1);
		usleep(1000);
	}
	return NULL;
}

/* Enters with YMM6 = pattern; YMM6 afterwards. */
__attribute__((target("avx"))) static void enter(struct enclave *enclave, struct request *request, uint8_t *ymm6)
{
	struct raw_fault fault;
	uint64_t leaf = EENTER;
	void *tcs = enclave_tcs(enclave, 0), *out = &fault;

	__asm__ volatile("vmovdqu (%4), %%ymm6; mov %4, %%rbx; call raw_enter_count; vmovdqu %%ymm6, (%%rbx); vzeroupper"
			 : "+D"(leaf), "+S"(tcs), "+d"(request), "+c"(out)
			 : "r"(ymm6)
			 : "rax", "rbx", "r8", "r9", "r10", "r11", "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5",
			   "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
}

int main(void)
{
	static const uint8_t zero[16];
	struct enclave_options options = { .xfrm = 3 };
	struct request spin = { .op = OP_SPIN, .a = (uint64_t)&flag };
	pthread_t self = pthread_self(), thread;
	uint8_t pattern[32], ymm6[32];
	struct enclave enclave;

	if (!__builtin_cpu_supports("avx")) {
		ok(true, "# SKIP this processor has no AVX");
		return done();
	}
	memset(pattern, 0xa5, 32);
	handle(SIGUSR1, on_signal);
	for (; options.xfrm <= 7; options.xfrm += 4) {
		printf("# XFRM %d\n", (int)options.xfrm);
		flag = seen = 0;
		memcpy(ymm6, pattern, 32);
		enclave_load(&enclave, &options);
		pthread_create(&thread, NULL, signaller, &self);
		enter(&enclave, &spin, ymm6);
		pthread_join(thread, NULL);
		ok(seen > 3, "signals came in the enclave");
		ok(!memcmp(upper, options.xfrm & 4 ? zero : pattern, 16), "a handler sees the upper half %s",
		   options.xfrm & 4 ? "cleared: it is the enclave's" : "as the program left it");
		ok(!memcmp(ymm6, pattern, 32), "unchanged in the end: the enclave did not touch it");
		enclave_unload(&enclave);
	}
	return done();
}
