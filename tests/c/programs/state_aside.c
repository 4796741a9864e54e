/*
 * What the program has in use of the extended state and XFRM has not is initial in the enclave, and the program's again
 * behind it: YMM and, where there are, ZMM and opmask registers.
 */
#include "enclave.h"

#define WARM 100
#define ENTRIES 400
#define HIGH "16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31"

struct registers {
	uint8_t ymm[16][32], zmm7[64], high[16][64]; /* ZMM16 to ZMM31 */
	uint16_t k[8];
};

static struct enclave enclave;
static uint64_t wide; /* there is AVX-512 */
static struct raw_fault fault;

/* Enters with registers as `in` has them; what they are afterwards goes to `out`. */
static int enter(struct request *request, const struct registers *in, struct registers *out)
{
	register void *r12 __asm__("r12") = enclave_tcs(&enclave, 0);
	register struct request *r13 __asm__("r13") = request;
	register const struct registers *r14 __asm__("r14") = in;
	register struct registers *r15 __asm__("r15") = out;
	register uint64_t rbx __asm__("rbx") = wide;
	register struct raw_fault *rcx __asm__("rcx") = &fault;
	int result;

	__asm__ volatile("sub $128, %%rsp;" /* the red zone */
			 ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15; vmovdqu 32 * \\n(%%r14), %%ymm\\n; .endr;"
			 "test %%rbx, %%rbx; jz 1f;"
			 "vmovdqu64 512(%%r14), %%zmm7;"
			 ".irp n, " HIGH "; vmovdqu64 576 + 64 * (\\n - 16)(%%r14), %%zmm\\n; .endr;"
			 ".irp n, 0, 1, 2, 3, 4, 5, 6, 7; kmovw 1600 + 2 * \\n(%%r14), %%k\\n; .endr;"
			 "1: mov $2, %%edi; mov %%r12, %%rsi; mov %%r13, %%rdx; call raw_enter_count;"
			 ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15; vmovdqu %%ymm\\n, 32 * \\n(%%r15); .endr;"
			 "test %%rbx, %%rbx; jz 1f;"
			 "vmovdqu64 %%zmm7, 512(%%r15);"
			 ".irp n, " HIGH "; vmovdqu64 %%zmm\\n, 576 + 64 * (\\n - 16)(%%r15); .endr;"
			 ".irp n, 0, 1, 2, 3, 4, 5, 6, 7; kmovw %%k\\n, 1600 + 2 * \\n(%%r15); .endr;"
			 "1: vzeroupper; add $128, %%rsp"
			 : "=a"(result), "+r"(r12), "+r"(r13), "+r"(r14), "+r"(r15), "+r"(rbx), "+r"(rcx)
			 :
			 : "rdx", "rdi", "rsi", "r8", "r9", "r10", "r11", "memory", "cc",
			   "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",
			   "xmm12", "xmm13", "xmm14", "xmm15");
	return result;
}

static void fill(struct registers *in, uint8_t seed)
{
	memset(in, 0, sizeof *in);
	for (int n = 0; n < 16; n++)
		memset(in->ymm[n], seed + n, 32);
	if (!wide)
		return;
	memset(in->zmm7, seed + 7, 64);
	for (int n = 0; n < 16; n++)
		memset(in->high[n], seed + 16 + n, 64);
	for (int n = 0; n < 8; n++)
		in->k[n] = (seed + n) * 0x0101;
}

/* Of an enclave with this XFRM, which has so many bytes of a vector register. */
static void check(uint64_t xfrm, size_t kept)
{
	static struct registers in, out;
	static uint8_t inside[64 * 17 + 16], initial[sizeof inside];
	struct enclave_options options = { .xfrm = xfrm };
	struct request request = { .op = OP_INSTRUCTION, .b = (uint64_t)inside };
	long failed = 0, lost = 0, seen = 0, changed = 0;

	enclave_load(&enclave, &options);
	for (int i = 0; i < WARM; i++)
		ask(enclave_tcs(&enclave, 0), OP_ADD, i, i, 0);
	for (int i = 0; i < ENTRIES; i++) {
		fill(&in, 1 + i % 200);
		memset(&out, 0, sizeof out);
		memset(inside, 0xee, sizeof inside);
		request.a = wide && i % 2 ? INSN_ZMM : INSN_YMM;
		failed += enter(&request, &in, &out) != RAW_EXITED;
		lost += memcmp(&in, &out, sizeof in) != 0;
		changed += memcmp(inside, in.ymm[7], kept) != 0; /* the lower part of ZMM7, too */
		seen += memcmp(inside + kept, initial, (request.a == INSN_ZMM ? sizeof inside : 32) - kept) != 0;
	}
	ok_eq(failed, 0, "entries");
	ok_eq(changed, 0, "what XFRM has is there in the enclave");
	ok_eq(seen, 0, "what it has not is initial");
	ok_eq(lost, 0, "all is the program's afterwards");
	enclave_unload(&enclave);
}

int main(void)
{
	if (!__builtin_cpu_supports("avx")) {
		ok(true, "# SKIP this processor has no AVX");
		return done();
	}
	wide = !!__builtin_cpu_supports("avx512f");
	check(3, 16);
	if (wide)
		check(7, 32);
	return done();
}
