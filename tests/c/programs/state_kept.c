/* General, x87, SSE (and AVX, where there is) registers of an enclave survive signals and ERESUME. */
#include "enclave.h"

#include <pthread.h>

static volatile uint32_t flag;
static volatile int signals;
static pthread_t spinner;

static void on_signal(int signo, siginfo_t *info, void *context)
{
	(void)signo, (void)info, (void)context;
	__asm__ volatile("pcmpeqd %%xmm5, %%xmm5; fninit; fldz" : : : "xmm5");
	__asm__ volatile("fninit");
	signals++;
}

static void *signaller(void *unused)
{
	(void)unused;
	for (int i = 0; i < 20; i++) {
		pthread_kill(spinner, SIGUSR1);
		usleep(2000);
	}
	flag = 1;
	return NULL;
}

static void check(uint64_t xfrm, bool avx)
{
	struct enclave_options options = { .xfrm = xfrm };
	struct state in = { .x87 = 2.718281828 }, out = { 0 };
	struct request request = { .op = OP_STATE, .a = (uint64_t)&in, .b = (uint64_t)&flag, .c = (uint64_t)&out, .d = avx };
	struct enclave enclave;
	struct raw_fault fault;
	pthread_t thread;

	for (int i = 0; i < 16; i++) {
		in.gpr[i] = 0x0101010101010101 * (i + 1);
		memset(in.vector[i], 0x40 + i, avx ? 32 : 16);
	}
	in.gpr[6] = (uint64_t)&flag;
	in.gpr[4] = 0;
	flag = signals = 0;
	enclave_load(&enclave, &options);
	pthread_create(&thread, NULL, signaller, NULL);
	ok_eq(raw_enter_count(EENTER, enclave_tcs(&enclave, 0), &request, &fault), RAW_EXITED, "exited");
	pthread_join(thread, NULL);
	ok(signals > 0, "signals came");
	ok(!memcmp(in.gpr, out.gpr, sizeof(in.gpr)), "general registers");
	ok(!memcmp(in.vector, out.vector, sizeof(in.vector)), avx ? "YMM registers" : "XMM registers");
	ok(in.x87 == out.x87, "x87 register");
	enclave_unload(&enclave);
}

int main(void)
{
	spinner = pthread_self();
	handle(SIGUSR1, on_signal);
	check(3, false);
	if (__builtin_cpu_supports("avx"))
		check(7, true);
	return done();
}
