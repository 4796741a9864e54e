/*
 * The extended state that XFRM has is the enclave's through AEX and ERESUME; what XCR0 has besides stays the program's,
 * and is initial inside: XSAVEC with a mask of ones writes nothing of it.
 */
#include "enclave.h"

#include <cpuid.h>

#define HEADER 512
#define PKRU (1ull << 9) /* not to be filled with a pattern: it would deny this program its memory */
#define AMX (3ull << 17) /* needs frames of three pages, and the kernel's permission */
#define IMAGE 16384

static uint64_t xcr0;
static volatile uint32_t flag;
static volatile int seen;
static uint8_t frame[IMAGE];
static uint32_t offset[64], size[64];

static void on_signal(int signo, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	(void)signo, (void)info;
	if (uc->uc_mcontext.gregs[REG_RIP] != (greg_t)raw_count_aep)
		return;
	for (int i = 2; i < 63; i++)
		if ((xcr0 & ~AMX) >> i & 1) /* without the kernel's permission no signal frame has room for it */
			memcpy(frame + offset[i], (uint8_t *)uc->uc_mcontext.fpregs + offset[i], size[i]);
	memcpy(frame + HEADER, (uint8_t *)uc->uc_mcontext.fpregs + HEADER, 8);
	flag = ++seen > 3;
}

static void *signaller(void *thread)
{
	while (!flag) {
		pthread_kill(*(pthread_t *)thread, SIGUSR1);
		usleep(1000);
	}
	return NULL;
}

/* An image in which each byte of the components tells component and seed. */
static void fill(uint8_t *image, uint64_t components, uint8_t seed)
{
	memset(image, 0, IMAGE);
	memcpy(image, &(uint16_t){ 0x37f }, 2);
	memcpy(image + 24, &(uint32_t){ 0x1f80 }, 4);
	memset(image + 160, seed, 256);
	for (int i = 2; i < 63; i++)
		if (components >> i & 1)
			memset(image + offset[i], seed + i, size[i]);
	if (components >> 4 & 1) /* BNDCSR: reserved bits, and a directory that nobody reads */
		memset(image + offset[4], 0, size[4]);
	memcpy(image + HEADER, &components, 8);
}

static bool same(const uint8_t *a, const uint8_t *b, uint64_t components)
{
	for (int i = 2; i < 63; i++)
		if (components >> i & 1 && memcmp(a + offset[i], b + offset[i], size[i])) {
			printf("# component %d differs\n", i);
			return false;
		}
	return true;
}

struct states {
	const void *in;
	void *out;
	uint64_t mask;
};

/* Enters with the extended state `states->in`; what it is afterwards goes to `states->out`. */
static void enter(void *tcs, struct request *request, const struct states *states)
{
	register void *r12 __asm__("r12") = tcs;
	register struct request *r13 __asm__("r13") = request;
	register const struct states *r14 __asm__("r14") = states;
	static struct raw_fault fault;
	register struct raw_fault *r15 __asm__("r15") = &fault;

	__asm__ volatile("mov 16(%%r14), %%eax; mov 20(%%r14), %%edx; mov (%%r14), %%rdi; xrstor64 (%%rdi);"
			 "mov $2, %%edi; mov %%r12, %%rsi; mov %%r13, %%rdx; mov %%r15, %%rcx; call raw_enter_count;"
			 "mov 16(%%r14), %%eax; mov 20(%%r14), %%edx; mov 8(%%r14), %%rdi; xsave64 (%%rdi); vzeroupper"
			 : "+r"(r12), "+r"(r13), "+r"(r14), "+r"(r15)
			 :
			 : "rax", "rbx", "rcx", "rdx", "rdi", "rsi", "r8", "r9", "r10", "r11", "memory", "cc",
			   "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",
			   "xmm12", "xmm13", "xmm14", "xmm15");
}

static uint64_t compacted_size(uint64_t components)
{
	uint64_t end = HEADER + 64;

	for (int i = 2; i < 63; i++) {
		unsigned int eax, ebx, ecx, edx;

		if (!(components >> i & 1))
			continue;
		__cpuid_count(0xd, i, eax, ebx, ecx, edx);
		if (ecx & 2)
			end = (end + 63) & ~63ull;
		end += eax;
	}
	return end;
}

static void check(uint64_t xfrm, uint64_t mask)
{
	static uint8_t outside[IMAGE] __attribute__((aligned(64))), inside[IMAGE] __attribute__((aligned(64)));
	static uint8_t after[IMAGE] __attribute__((aligned(64))), kept[IMAGE] __attribute__((aligned(64)));
	static uint8_t initial[IMAGE];
	struct states states = { outside, after, mask };
	struct request spin = { .op = OP_XSTATE, .a = (uint64_t)inside, .b = (uint64_t)&flag, .c = (uint64_t)kept,
		.d = xfrm };
	struct request save = { .op = OP_XSAVEC, .a = (uint64_t)kept, .b = ~0ull };
	struct enclave_options options = { .xfrm = xfrm };
	pthread_t self = pthread_self(), thread;
	uint64_t others = mask & ~xfrm, bv, i;
	struct enclave enclave;

	printf("# XFRM %#llx of XCR0 %#llx\n", (unsigned long long)xfrm, (unsigned long long)xcr0);
	fill(outside, mask, 0x10);
	fill(inside, xfrm & ~PKRU, 0x80);
	flag = seen = 0;
	enclave_load(&enclave, &options);
	pthread_create(&thread, NULL, signaller, &self);
	enter(enclave_tcs(&enclave, 0), &spin, &states);
	pthread_join(thread, NULL);
	ok(seen > 3, "signals came in the enclave");
	ok(same(kept, inside, xfrm & mask), "what XFRM has is the enclave's through AEX and ERESUME");
	ok(same(frame, outside, others), "a handler sees the rest as the program left it");
	memcpy(&bv, frame + HEADER, 8);
	for (int component = 2; component < 63; component++)
		if (!(bv >> component & 1))
			memset(frame + offset[component], 0, size[component]);
	ok(same(frame, initial, xfrm & mask), "and what XFRM has initial");
	ok(same(after, outside, others), "the rest is the program's afterwards, too");

	memset(kept, 0xee, IMAGE);
	enter(enclave_tcs(&enclave, 0), &save, &states);
	memcpy(&bv, kept + HEADER, 8);
	ok_eq(bv & ~xfrm, 0, "XSAVEC inside: nothing outside XFRM is in use");
	for (i = compacted_size(xfrm); i < IMAGE && kept[i] == 0xee; i++)
		;
	ok_eq(i, IMAGE, "nor written");
	ok(same(after, outside, others), "and it is the program's afterwards");
	enclave_unload(&enclave);
}

int main(void)
{
	unsigned int eax, ebx, ecx, edx;
	uint64_t offered, mask;

	__cpuid_count(0xd, 1, eax, ebx, ecx, edx);
	if (!(eax & 2) || !__builtin_cpu_supports("avx")) {
		ok(true, "# SKIP this processor has no XSAVEC, or no AVX");
		return done();
	}
	__asm__("xgetbv" : "=a"(eax), "=d"(edx) : "c"(0));
	xcr0 = eax | (uint64_t)edx << 32;
	for (int i = 2; i < 63; i++)
		if (xcr0 >> i & 1)
			__cpuid_count(0xd, i, size[i], offset[i], ecx, edx);
	__cpuid_count(0x12, 1, eax, ebx, ecx, edx);
	offered = ecx | (uint64_t)edx << 32;
	ok_eq(offered, xcr0 & 0x602ff, "CPUID.12H.1 offers what XCR0 has");
	__cpuid_count(0xd, 0, eax, ebx, ecx, edx);
	ok_eq(offered & ~(eax | (uint64_t)edx << 32), 0, "and no more than CPUID.0DH knows");
	handle(SIGUSR1, on_signal);
	mask = xcr0 & ~PKRU & ~AMX;
	check(3, mask);
	check(7, mask);
	if (offered & ~AMX & ~7)
		check(offered & ~AMX, mask);
	return done();
}
